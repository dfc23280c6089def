"""A seeded stream of signups with planted duplicates, for the demo and for tests. Everything in it is invented."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_GIVEN = """
    Adaeze Aino Alejandra Amira Andrzej Anneliese Antoine Beatriz Bogdan Brigid Caoimhe Carlos Chidi Clémence Dagny
    Daniel Davide Desta Dmitri Eilidh Elena Elif Emeka Esperanza Fatima Felix Fiona Francesca Gabriel Giorgos Grace
    Gunnar Hana Hassan Henrik Hye-jin Ibrahim Ingrid Isabel Ivana Jacek James Jasmine João Johanna Jorge Kamala
    Karin Katarzyna Kenji Khalid Klára Laila Lars Leila Lorenzo Lucía Maeve Magnus Malik Margaret Mateus Mei Michael
    Mina Mohammed Nadia Natalia Niamh Nikolai Noor Olivia Omar Oskar Paulo Petra Philip Priya Quentin Rachel Rafael
    Rania Ravi Rosalind Samuel Saoirse Selin Sofia Stefan Suresh Tamara Thandiwe Theodora Thomas Tomáš Uma Valentina
    Vikram Wanjiru Wilhelm Xiomara Yasmin Yusuf Zainab Zofia Élodie Øyvind
""".split()  # noqa: SIM905  # a hundred lines less
_FAMILY = """
    Abara Achterberg Adeyemi Alvarez Andersson Anghelescu Baptiste Barbieri Bergström Bianchi Boateng Brennan
    Castellanos Chaudhary Cohen Contreras Dąbrowski Delacroix Demir Diallo Dimitriou Dubois Eriksen Escobar Farouk
    Fernandes Ferrari Fitzgerald Fujimoto Gallagher García Gebremariam Goldberg Grünwald Haddad Hakimi Hernández
    Hoang Horváth Ibarra Ivanov Jankowski Jensen Kariuki Kaufmann Kowalski Kovačević Laurent Lindqvist Lombardi
    Macdonald Mahmoud Marchetti Mbeki Mendoza Moreau Murphy Nakamura Ndiaye Nguyen Nielsen Novák Nwosu Okafor
    Oliveira Súilleabháin Papadopoulos Park Patel Pereira Petrov Quigley Ramírez Rasmussen Rossi Sørensen Saleh
    Santos Schneider Sharma Silva Singh Sokolov Stewart Szabó Takahashi Tanaka Teixeira Torres Ueda Vandenberg
    Vasquez Virtanen Vogel Walker Weber Wójcik Yamamoto Yildiz Zhang Zielińska Żukowski
""".split()  # noqa: SIM905  # a hundred lines less
_STEMS = """
    Ader Alt Arn Bal Ber Bor Bran Cal Car Cor Dal Dor Dra Eck El Esp Fal Far Fen Gar Gel Gor Hal Har Hof Il Jan Jor Kal
    Kar Kel Kor Lan Lind Lor Mal Mar Mor Nor Ny Ob Or Pal Par Pet Quen Ran Rod Ros Sal San Sten Tal Tor Ul Val Vik Vor
    Wal Wes Wil Yor Zan Zel
""".split()  # noqa: SIM905  # as above
_ENDINGS = """
    acek aldi and ano ante arov asz bach berg bo by chuk dahl dottir eira elli enko eszku ette feld gaard halter ides
    ikov ingh ino kainen lund man mann mont nen ogan ola ovic owska quist ros sen son stad stein strand tveit ula vall
    vey wala wood yan zade
""".split()  # noqa: SIM905  # as above
_CITY = """
    Aarhus Accra Almería Amsterdam Antwerp Bengaluru Bergen Bilbao Birmingham Bogotá Bratislava Brno Busan
    Casablanca Cluj-Napoca Coimbra Córdoba Cork Dakar Dresden Dunedin Edinburgh Gdańsk Genoa Graz Guadalajara
    Hamburg Helsinki İzmir Kampala Kraków Kyoto Lagos Leeds Lille Ljubljana Lyon Malmö Marrakesh Medellín Montréal
    Münster Nairobi Naples Nijmegen Odense Osaka Oulu Palermo Porto Poznań Pune Riga Rotterdam Salvador Seville
    Sheffield Sofia Tallinn Tampere Thessaloniki Toulouse Trondheim Turin Utrecht Valparaíso Vilnius Wrocław York
    Zaragoza Zürich
""".split()  # noqa: SIM905  # a hundred lines less
_BROWSERS = ("Chrome", "Firefox", "Safari", "Edge", "Opera", "Samsung Internet")
_SYSTEMS = ("Windows", "macOS", "Android", "iOS", "Linux")
_START = datetime(2025, 1, 6, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Signup:
    """One generated input message and the person behind it."""

    id: str
    person: int
    value: dict[str, object]


@dataclass(frozen=True, slots=True)
class _Person:
    number: int
    given: str
    family: str
    city: str
    browser: str
    system: str
    hours: tuple[int, int]
    offset_hours: int


def signups(count: int, seed: int, duplicate_share: float = 0.25) -> Iterator[Signup]:
    """`count` signups; about `duplicate_share` of them are of a person who signed up before.

    A second signup is typed anew: a typo, an initial, a dropped accent, a swapped name order, a missing city, another
    browser version or device, logins at that person's usual hours.
    """
    rng = random.Random(seed)  # noqa: S311  # a reproducible stream, not a secret
    people: list[_Person] = []
    for number in range(count):
        if people and rng.random() < duplicate_share:
            # mostly someone recent, as people who sign up twice do it soon
            person = people[-1 - int(rng.expovariate(1 / 400)) % len(people)]
            first = False
        else:
            person = _person(rng, len(people))
            people.append(person)
            first = True
        yield Signup(f"signup-{number:06d}", person.number, _value(rng, person, first=first))


def _person(rng: random.Random, number: int) -> _Person:
    given, family = rng.choice(_GIVEN), _family(rng)
    if rng.random() < 0.5:
        given = f"{given} {rng.choice(_GIVEN)}"
    if rng.random() < 0.15:
        family = f"{family}-{_family(rng)}"
    hours = (rng.randrange(24), rng.randrange(24))
    return _Person(
        number,
        given,
        family,
        rng.choice(_CITY),
        rng.choice(_BROWSERS),
        rng.choice(_SYSTEMS),
        hours,
        rng.randrange(-8, 10),
    )


def _family(rng: random.Random) -> str:
    """A third are common names, the rest rare ones, as among real people."""
    return rng.choice(_FAMILY) if rng.random() < 0.33 else rng.choice(_STEMS) + rng.choice(_ENDINGS)


def _value(rng: random.Random, person: _Person, *, first: bool) -> dict[str, object]:
    name, city, browser, system = f"{person.given} {person.family}", person.city, person.browser, person.system
    if not first:
        name = _retype(rng, person)
        city = city if rng.random() < 0.85 else _typo(rng, city)
        if rng.random() < 0.3:
            browser, system = rng.choice(_BROWSERS), rng.choice(_SYSTEMS)
    value: dict[str, object] = {
        "name": name,
        "city": city,
        "browser": f"{browser} {rng.randrange(90, 140)}.0",
        "os": system,
        "login_times": _logins(rng, person),
    }
    if not first and rng.random() < 0.1:
        del value["city"]
    return value


def _retype(rng: random.Random, person: _Person) -> str:
    given, family = person.given, person.family
    kind = rng.random()
    if kind < 0.3:
        return f"{given} {family}"
    if kind < 0.6:
        return _typo(rng, f"{given} {family}")
    if kind < 0.7:
        return f"{family}, {given}"
    if kind < 0.8 and " " in given:
        first, second = given.split(" ", 1)
        return f"{first} {second[0]}. {family}"
    if kind < 0.9:
        return f"{given} {family}".upper()
    return f"{given} {family.split('-')[0]}"


def _typo(rng: random.Random, text: str) -> str:
    place = rng.randrange(1, max(2, len(text) - 1))
    kind = rng.randrange(3)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + text[place : place + 2][::-1] + text[place + 2 :]
    return text[:place] + rng.choice("aeiourstln") + text[place:]


def _logins(rng: random.Random, person: _Person) -> list[str]:
    times = []
    for _ in range(rng.randrange(3, 12)):
        hour = (rng.choice(person.hours) + rng.choice((-1, 0, 0, 0, 1))) % 24
        day = _START + timedelta(days=rng.randrange(60), hours=hour, minutes=rng.randrange(60))
        times.append(f"{day:%Y-%m-%dT%H:%M:%S}{person.offset_hours:+03d}:00")
    return sorted(times)
