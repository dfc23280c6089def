"""Slots by id, in parts that grow one by one."""

from random import Random

from consumer.adapters.id_table import IdTable


class Names(list[str]):
    """Ids by slot, and how often one was read."""

    reads = 0

    def read(self, slot: int) -> str:
        self.reads += 1
        return self[slot]


def test_it_finds_what_a_dict_finds() -> None:
    random, names, expected = Random(1), Names(), dict[str, int]()
    table = IdTable(names.read)
    for _ in range(30_000):
        record_id = f"r{random.randrange(3_000)}"
        if random.random() < 0.5:
            assert table.drop(record_id) == expected.pop(record_id, None)
        elif record_id not in expected:
            expected[record_id] = len(names)
            names.append(record_id)
            table.enter(record_id, expected[record_id])
    assert {f"r{n}": table.find(f"r{n}") for n in range(3_000)} == {
        f"r{n}": expected.get(f"r{n}") for n in range(3_000)
    }
    again = IdTable(names.read, list(expected.values()))
    assert {record_id: again.find(record_id) for record_id in expected} == expected


def test_no_id_that_comes_waits_until_all_others_were_moved() -> None:
    names, most = Names(), 0
    table = IdTable(names.read)
    for slot in range(100_000):
        names.append(f"r{slot}")
        names.reads = 0
        table.enter(names[slot], slot)
        most = max(most, names.reads)
    assert most < 500
