"""First names and what people make of them. Common knowledge, copied from no data set."""

from random import Random

_GROUPS = """
william will bill billy willie wm
robert rob bob bobby robt
richard rick dick richie
james jim jimmy jas jamie
john jack johnny jon jno
margaret maggie meg peggy
elizabeth liz beth betty eliza lizzie
katherine kate kathy katie catherine
michael mike mick
thomas tom tommy thos
charles charlie chas chuck
edward ed ted eddie edwd
joseph joe joey jos
george geo
henry harry hank
mary polly molly
ann annie anne anna
sarah sally sara
alexander alex sandy sasha
samuel sam saml
benjamin ben benj
daniel dan danny
david dave davy
matthew matt
anthony tony
andrew andy drew
christopher chris kit
nicholas nick nico
patrick pat paddy
stephen steve steven
jennifer jen jenny
jessica jess
rebecca becky becca
susan sue susie
victoria vicky
deborah debbie deb
frederick fred freddie
francis frank fran
francisco paco pancho
jose pepe
giuseppe beppe
johannes hans jan
wilhelm willi
friedrich fritz
alexandra alex sandra
ekaterina katya kate
dmitri dima dmitry
mikhail misha
vladimir vova
ivan vanya
jacob jake jakob
joshua josh
jonathan jon
zachary zach zac
philip phil phillip
gregory greg
lawrence larry laurence
leonard len leo
peter pete pierre
samantha sam
amanda mandy
isabella bella isabel
eleanor ellie nell
dorothy dot
martha mattie
caroline carrie
theodore ted theo
albert al bert
archibald archie
oliver ollie
isaac ike
nathaniel nathan nat
timothy tim
ronald ron ronnie
donald don
kenneth ken kenny
raymond ray
walter walt wally
arthur art
eugene gene
jeremy jerry
gerald gerry jerry
vincent vince
russell russ
bradley brad
cynthia cindy
barbara barb babs
patricia patty tricia trish
teresa theresa terry tess
judith judy
kimberly kim
pamela pam
angela angie
gabriel gabe
maximilian max
sebastian seb bastian
antonio toni tono
guillermo memo
ignacio nacho
alejandro ale jandro
konstantin kostya
sergei seryozha serge
nikolai kolya
yekaterina katya
tatiana tanya
anastasia nastya
muhammad mohammed mohamed mohd md
hussein husain hussain
abdullah abdallah
yusuf yousef joseph
ibrahim abraham
lukasz luke lucas
katarzyna kasia
malgorzata gosia
andrzej andrew
heinrich heinz
gertrude trudy gerda
ludwig louis lewis
emily em emmy
charlotte lottie charlie
harriet hattie
ellen nell helen
frances fanny
edmund ned ted
augustus gus
"""
_OTHERS: dict[str, list[str]] = {}
for _group in _GROUPS.split("\n"):
    for _name in _group.split():
        _OTHERS.setdefault(_name, []).extend(other for other in _group.split() if other != _name)


def nickname(name: str, chance: Random) -> str:
    """Another form of a lower-case first name, or nothing where none is known."""
    return chance.choice(_OTHERS.get(name) or [""])
