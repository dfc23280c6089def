"""A seeded stream of signups with planted duplicates, for the demo and for tests. Everything in it is invented.

How often names repeat decides how many strangers look alike, so they repeat as in a census: the commonest family name is that
of .8 % of people, the commonest given name that of 1.2 %, the largest city is home to .4 %, and the tails are long.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

# The commonest names of each kind, in that order; rarer ones are composed.
_GIVEN = """
    Mohammed Michael Daniel Sofia James Fatima Carlos Thomas Elena Ibrahim Olivia Yusuf Gabriel Samuel Priya Mei Hassan
    Isabel Omar Ravi João Grace Khalid Rachel Antoine Margaret Philip Lucía Felix Andrzej Laila Kenji Paulo Valentina
    Klára Natalia Hye-jin Anneliese Elif Alejandra Yasmin Clémence Rosalind Zofia Xiomara Hana Fiona Zainab Esperanza
    Gunnar Beatriz Amira Johanna Nikolai Maeve Chidi Magnus Selin Lars Giorgos Jasmine Dagny Brigid Petra Tomáš Quentin
    Saoirse Karin Mateus Wanjiru Desta Suresh Tamara Katarzyna Malik Mina Rafael Theodora Francesca Bogdan Leila Dmitri
    Niamh Øyvind Jacek Nadia Adaeze Oskar Vikram Lorenzo Ivana Henrik Rania Wilhelm Aino Jorge Davide Ingrid Noor
    Thandiwe Stefan Uma Eilidh Kamala Caoimhe Élodie Emeka
""".split()
_FAMILY = """
    Nguyen García Singh Silva Zhang Patel Hernández Santos Sharma Murphy Rossi Torres Park Diallo Walker Ivanov Tanaka
    Schneider Jensen Pereira Cohen Okafor Kowalski Yildiz Stewart Mahmoud Mendoza Weber Dubois Ferrari Vogel Kariuki
    Súilleabháin Gallagher Andersson Delacroix Adeyemi Wójcik Boateng Nakamura Zielińska Castellanos Fitzgerald Eriksen
    Yamamoto Dimitriou Fernandes Anghelescu Alvarez Hakimi Quigley Lindqvist Bianchi Lombardi Ramírez Kaufmann Farouk
    Haddad Brennan Barbieri Saleh Takahashi Oliveira Nielsen Ibarra Macdonald Rasmussen Chaudhary Sokolov Papadopoulos
    Jankowski Marchetti Mbeki Vasquez Escobar Teixeira Kovačević Contreras Ndiaye Żukowski Grünwald Moreau Abara Nwosu
    Vandenberg Laurent Goldberg Fujimoto Petrov Virtanen Achterberg Hoang Baptiste Gebremariam Novák Szabó Sørensen Ueda
    Dąbrowski Horváth Bergström Demir
""".split()
_CITY = """
    Lagos Bengaluru Bogotá Osaka Nairobi Accra Hamburg Casablanca Pune Busan Kampala Montréal Guadalajara Medellín
    Salvador Birmingham Dakar Naples Lyon Porto Rotterdam Amsterdam Gdańsk York Coimbra Kyoto Odense Zaragoza Bilbao
    Wrocław Edinburgh Cork Poznań Seville Marrakesh Zürich İzmir Thessaloniki Tampere Dresden Leeds Tallinn Kraków Turin
    Sheffield Riga Córdoba Antwerp Helsinki Vilnius Malmö Lille Graz Utrecht Aarhus Münster Toulouse Almería Valparaíso
    Bratislava Dunedin Ljubljana Trondheim Oulu Nijmegen Palermo Brno Genoa Bergen Sofia Cluj-Napoca
""".split()
_ONSETS = """
    B Ch D F G H J K L M N P R S T V W Y Z Al Am As Ber Br Car Cz Dr El Er Fr Gh Gr Har Hj In Ka Kl Kr Kw Le Ma Mar Mb Ng
    Ol Ör Os Pr Ra Sch Sh Sk Sl Sta Str Sv Tch Th Tr Ul Vr Wa Xi Zh Żu Š Þ
""".split()
_RHYMES = """
    ab ach ad ag al am an ap ar as at av az eb ed eg el em en er es et ev ib id ig il im in ir is it iv ob od og ol om on
    or os ot ub ud ug ul um un ur us ut aud eich ein ell est ied ind ing old ost ulk und áv ær éd ín óż ør üh ăl
""".split()
_FAMILY_ENDINGS = """
    a aba acek adze agić ahashi aidis akis ald aldi amoto andra ano anski ante ar arov asz atti auer ault bach berg bo by
    chuk court dahl dóttir e eau eira elli emba enko escu eszku ette ez feld gaard grave gren halter ham hoff i ian idou
    ides ier ikov ingh ini iņš ley lund man mann mont mura nakis nen ni o oğlu ola otti ov ová owicz owski pour quist rath
    ros sen shvili son ssen stad stein strand sworth tani thorpe ton tveit u uddin ula unga uri vall vey vić wala wood ya
    yan yev za zade
""".split()
_GIVEN_ENDINGS = """
    a aan adh ai ain an ane bert dan e ela en eth ette fa ia iah ian ice ico ie iel ika ila ín ina ine io ir ise isha ita
    iu jun ka kin la lan lia lyn mar mir na ne nor o ora ric sa shi son tha ti tu wen win ya yn zo
""".split()
_CITY_ENDINGS = """
    a abad ac ana any ar ara au bach berg bridge burg by castro dal dorf e ford furt gorod grad ham haven heim hurst i ia
    ica ino issa järvi köping land ley lo luz mar minster mouth na nes o oba ona ou pol pur rio sk stad stadt stead stow
    ton town tz um va vale vik ville wijk worth ya yama zhou
""".split()
_SCATTER = 1_000_003
"""A prime: composed names of neighbouring ranks have little in common."""
_BROWSERS = ("Chrome", "Firefox", "Safari", "Edge", "Opera", "Samsung Internet")
_SYSTEMS = ("Windows", "macOS", "Android", "iOS", "Linux")
_RELATED = 0.04


@dataclass(frozen=True, slots=True)
class Signup:
    """One generated input message and the person behind it."""

    id: str
    person: int
    value: dict[str, object]


@dataclass(frozen=True, slots=True)
class _Names:
    """`count` names by rank. Their shares fall as 1 / (rank + `flat`), by the law of Zipf and Mandelbrot."""

    known: Sequence[str]
    endings: Sequence[str]
    count: int
    flat: int

    def draw(self, rng: random.Random) -> str:
        rank = int(self.flat * ((1 + self.count / self.flat) ** rng.random() - 1))
        if rank < len(self.known):
            return self.known[rank]
        rest, ending = divmod(rank * _SCATTER, len(self.endings))
        rest, rhyme = divmod(rest, len(_RHYMES))
        return _ONSETS[rest % len(_ONSETS)] + _RHYMES[rhyme] + self.endings[ending]


_GIVENS = _Names(_GIVEN, _GIVEN_ENDINGS, 12_000, 12)
_FAMILIES = _Names(_FAMILY, _FAMILY_ENDINGS, 160_000, 13)
_CITIES = _Names(_CITY, _CITY_ENDINGS, 30_000, 40)


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

    A second signup is typed anew: a typo, an initial, capitals, a swapped name order, half of a double name, a missing
    city, another browser version or device, logins at that person's usual hours.
    """
    rng = random.Random(seed)  # noqa: S311  # a reproducible stream, not a secret
    people: list[_Person] = []
    for number in range(count):
        if people and rng.random() < duplicate_share:
            person = _recent(rng, people)
            first = False
        else:
            person = _person(rng, people)
            people.append(person)
            first = True
        yield Signup(f"signup-{number:06d}", person.number, _value(rng, person, first=first))


def _recent(rng: random.Random, people: Sequence[_Person]) -> _Person:
    """Mostly someone recent, as people who sign up twice do it soon, and so do those of one house."""
    return people[-1 - int(rng.expovariate(1 / 400)) % len(people)]


def _person(rng: random.Random, people: Sequence[_Person]) -> _Person:
    """Someone new. One in twenty-five has a relative here: near-namesakes, however many people there are."""
    given, family, city = _GIVENS.draw(rng), _FAMILIES.draw(rng), _CITIES.draw(rng)
    if rng.random() < 0.5:
        given = f"{given} {_GIVENS.draw(rng)}"
    if rng.random() < 0.15:
        family = f"{family}-{_FAMILIES.draw(rng)}"
    if people and rng.random() < _RELATED:
        relative = _recent(rng, people)
        family, city = relative.family, relative.city
    hours = (rng.randrange(24), rng.randrange(24))
    browser, system = rng.choice(_BROWSERS), rng.choice(_SYSTEMS)
    return _Person(len(people), given, family, city, browser, system, hours, rng.randrange(-8, 10))


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
    first = datetime(2025, 1, 6, tzinfo=timezone(timedelta(hours=person.offset_hours)))
    times = []
    for _ in range(rng.randrange(3, 12)):
        hour = (rng.choice(person.hours) + rng.choice((-1, 0, 0, 0, 1))) % 24
        day = first + timedelta(days=rng.randrange(60), hours=hour, minutes=rng.randrange(60))
        times.append(day.isoformat())
    return sorted(times)
