"""Common names of classes in five languages: enough to see that `dog` and `cane` are one class, and no dictionary.

One concept a line: English | Italian | Spanish | French | German, synonyms separated by commas, all in the singular.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import defaultdict
from typing import NamedTuple

LANGUAGES = ("English", "Italian", "Spanish", "French", "German")

_TABLE = """
dog | cane | perro | chien | hund
cat | gatto | gato | chat | katze
horse | cavallo | caballo | cheval | pferd
cow | mucca, vacca | vaca | vache | kuh
bull | toro | toro | taureau | stier, bulle
pig | maiale | cerdo | cochon, porc | schwein
sheep | pecora | oveja | mouton, brebis | schaf
goat | capra | cabra | chevre | ziege
donkey | asino | burro, asno | ane | esel
rabbit | coniglio | conejo | lapin | kaninchen
hare | lepre | liebre | lievre | hase
mouse | topo | raton | souris | maus
rat | ratto | rata | rat | ratte
squirrel | scoiattolo | ardilla | ecureuil | eichhornchen
hedgehog | riccio | erizo | herisson | igel
fox | volpe | zorro | renard | fuchs
wolf | lupo | lobo | loup | wolf
bear | orso | oso | ours | bar
deer | cervo | ciervo | cerf | hirsch
lion | leone | leon | lion | lowe
tiger | tigre | tigre | tigre | tiger
leopard | leopardo | leopardo | leopard | leopard
elephant | elefante | elefante | elephant | elefant
giraffe | giraffa | jirafa | girafe | giraffe
zebra | zebra | cebra | zebre | zebra
monkey | scimmia | mono | singe | affe
camel | cammello | camello | chameau | kamel
kangaroo | canguro | canguro | kangourou | kanguru
whale | balena | ballena | baleine | wal
dolphin | delfino | delfin | dauphin | delfin
shark | squalo | tiburon | requin | hai
seal | foca | foca | phoque | robbe
fish | pesce | pez, pescado | poisson | fisch
bird | uccello | pajaro, ave | oiseau | vogel
chicken, hen | gallina, pollo | gallina, pollo | poule, poulet | huhn
rooster | gallo | gallo | coq | hahn
duck | anatra | pato | canard | ente
goose | oca | ganso | oie | gans
swan | cigno | cisne | cygne | schwan
eagle | aquila | aguila | aigle | adler
owl | gufo, civetta | buho, lechuza | hibou, chouette | eule
parrot | pappagallo | loro | perroquet | papagei
pigeon, dove | piccione, colomba | paloma | pigeon, colombe | taube
penguin | pinguino | pinguino | manchot, pingouin | pinguin
frog | rana | rana | grenouille | frosch
turtle, tortoise | tartaruga | tortuga | tortue | schildkrote
snake | serpente | serpiente | serpent | schlange
lizard | lucertola | lagarto | lezard | eidechse
crocodile | coccodrillo | cocodrilo | crocodile | krokodil
snail | lumaca, chiocciola | caracol | escargot | schnecke
spider | ragno | arana | araignee | spinne
bee | ape | abeja | abeille | biene
ant | formica | hormiga | fourmi | ameise
butterfly | farfalla | mariposa | papillon | schmetterling
fly | mosca | mosca | mouche | fliege
beetle | scarabeo, coleottero | escarabajo | scarabee, coleoptere | kafer
crab | granchio | cangrejo | crabe | krabbe
rose | rosa | rosa | rose | rose
tulip | tulipano | tulipan | tulipe | tulpe
daisy | margherita | margarita | marguerite, paquerette | ganseblumchen, margerite
sunflower | girasole | girasol | tournesol | sonnenblume
dandelion | dente di leone, tarassaco, soffione | diente de leon | pissenlit | lowenzahn
lily | giglio | lirio, azucena | lys | lilie
orchid | orchidea | orquidea | orchidee | orchidee
poppy | papavero | amapola | coquelicot, pavot | mohn
violet | viola, violetta | violeta | violette | veilchen
carnation | garofano | clavel | oeillet | nelke
daffodil | narciso | narciso | jonquille | narzisse
flower | fiore | flor | fleur | blume
tree | albero | arbol | arbre | baum
leaf | foglia | hoja | feuille | blatt
grass | erba | hierba, pasto | herbe | gras
oak | quercia | roble | chene | eiche
pine | pino | pino | pin | kiefer
mushroom | fungo | seta, hongo | champignon | pilz
apple | mela | manzana | pomme | apfel
pear | pera | pera | poire | birne
peach | pesca | melocoton, durazno | peche | pfirsich
cherry | ciliegia | cereza | cerise | kirsche
plum | prugna, susina | ciruela | prune | pflaume
apricot | albicocca | albaricoque | abricot | aprikose
grape | uva | uva | raisin | traube
strawberry | fragola | fresa | fraise | erdbeere
raspberry | lampone | frambuesa | framboise | himbeere
lemon | limone | limon | citron | zitrone
lime | lime | lima | lime, citron vert | limette
banana | banana | platano, banana | banane | banane
pineapple | ananas | pina | ananas | ananas
watermelon | anguria, cocomero | sandia | pasteque | wassermelone
melon | melone | melon | melon | melone
fig | fico | higo | figue | feige
walnut | noce | nuez | noix | walnuss
hazelnut | nocciola | avellana | noisette | haselnuss
potato | patata | patata, papa | pomme de terre | kartoffel
tomato | pomodoro | tomate | tomate | tomate
carrot | carota | zanahoria | carotte | karotte, mohre
onion | cipolla | cebolla | oignon | zwiebel
garlic | aglio | ajo | ail | knoblauch
pepper | peperone | pimiento | poivron | paprika
cucumber | cetriolo | pepino | concombre | gurke
eggplant, aubergine | melanzana | berenjena | aubergine | aubergine
zucchini, courgette | zucchina | calabacin | courgette | zucchini
pumpkin | zucca | calabaza | citrouille, potiron | kurbis
cabbage | cavolo | col, repollo | chou | kohl
cauliflower | cavolfiore | coliflor | chou fleur | blumenkohl
lettuce | lattuga | lechuga | laitue | kopfsalat
spinach | spinaci | espinaca | epinard | spinat
bean | fagiolo | frijol, judia, alubia | haricot | bohne
pea | pisello | guisante | petit pois | erbse
corn, maize | mais, granoturco | maiz | mais | mais
wheat | grano, frumento | trigo | ble | weizen
rice | riso | arroz | riz | reis
bread | pane | pan | pain | brot
cheese | formaggio | queso | fromage | kase
egg | uovo | huevo | oeuf | ei
milk | latte | leche | lait | milch
meat | carne | carne | viande | fleisch
cake | torta | pastel, tarta | gateau | kuchen
car, automobile | automobile, auto, macchina | coche, automovil, carro, auto | voiture, automobile | auto
truck, lorry | camion | camion | camion | lastwagen, lkw
bus | autobus | autobus | autobus, bus | bus
van | furgone | furgoneta | camionnette | lieferwagen
bicycle, bike | bicicletta, bici | bicicleta, bici | velo, bicyclette | fahrrad
motorcycle, motorbike | motocicletta, moto | motocicleta, moto | moto, motocyclette | motorrad
train | treno | tren | train | zug
tram, streetcar | tram | tranvia | tramway | strassenbahn
airplane, aeroplane, plane | aereo, aeroplano | avion | avion | flugzeug
helicopter | elicottero | helicoptero | helicoptere | hubschrauber
ship | nave | barco, buque | navire | schiff
boat | barca | bote, barca | bateau | boot
tractor | trattore | tractor | tracteur | traktor
paper | carta | papel | papier | papier
cardboard | cartone | carton | carton | pappe, karton
glass | vetro | vidrio, cristal | verre | glas
plastic | plastica | plastico | plastique | plastik, kunststoff
metal | metallo | metal | metal | metall
wood | legno | madera | bois | holz
stone | pietra | piedra | pierre | stein
leather | cuoio, pelle | cuero | cuir | leder
fabric, cloth | tessuto, stoffa | tela, tejido | tissu | stoff
wool | lana | lana | laine | wolle
cotton | cotone | algodon | coton | baumwolle
steel | acciaio | acero | acier | stahl
iron | ferro | hierro | fer | eisen
copper | rame | cobre | cuivre | kupfer
gold | oro | oro | or | gold
silver | argento | plata | argent | silber
trash, garbage, rubbish, waste | spazzatura, rifiuto, immondizia | basura, residuo | dechet, ordure | mull, abfall
battery | batteria, pila | bateria, pila | pile, batterie | batterie
bottle | bottiglia | botella | bouteille | flasche
house | casa | casa | maison | haus
church | chiesa | iglesia | eglise | kirche
bridge | ponte | puente | pont | brucke
street, road | strada, via | calle, carretera | rue, route | strasse
city | citta | ciudad | ville | stadt
mountain | montagna, monte | montana | montagne | berg
sea | mare | mar | mer | meer
river | fiume | rio | riviere, fleuve | fluss
lake | lago | lago | lac | see
forest | foresta, bosco | bosque | foret | wald
beach | spiaggia | playa | plage | strand
desert | deserto | desierto | desert | wuste
sky | cielo | cielo | ciel | himmel
cloud | nuvola | nube | nuage | wolke
rain | pioggia | lluvia | pluie | regen
snow | neve | nieve | neige | schnee
sun | sole | sol | soleil | sonne
moon | luna | luna | lune | mond
fire | fuoco | fuego | feu | feuer
smoke | fumo | humo | fumee | rauch
man | uomo | hombre | homme | mann
woman | donna | mujer | femme | frau
child | bambino | nino | enfant | kind
face | viso, faccia | cara, rostro | visage | gesicht
hand | mano | mano | main | hand
eye | occhio | ojo | oeil | auge
chair | sedia | silla | chaise | stuhl
table | tavolo | mesa | table | tisch
bed | letto | cama | lit | bett
lamp | lampada | lampara | lampe | lampe
clock | orologio | reloj | horloge | uhr
book | libro | libro | livre | buch
knife | coltello | cuchillo | couteau | messer
fork | forchetta | tenedor | fourchette | gabel
spoon | cucchiaio | cuchara | cuillere | loffel
cup | tazza | taza | tasse | tasse
plate | piatto | plato | assiette | teller
key | chiave | llave | cle, clef | schlussel
shoe | scarpa | zapato | chaussure | schuh
shirt | camicia | camisa | chemise | hemd
trousers, pants | pantaloni | pantalon, pantalones | pantalon | hose
dress | vestito | vestido | robe | kleid
coat | cappotto | abrigo | manteau | mantel
bag | borsa | bolsa, bolso | sac | tasche
hat | cappello | sombrero | chapeau | hut
healthy | sano | sano | sain | gesund
sick, ill, diseased | malato | enfermo | malade | krank
good, ok | buono | bueno | bon | gut
bad | cattivo | malo | mauvais | schlecht
defective, faulty | difettoso | defectuoso | defectueux | defekt, fehlerhaft
other | altro | otro | autre | andere, sonstige
unknown | sconosciuto | desconocido | inconnu | unbekannt
"""
# English words that are other words elsewhere and may well be classes; among English names they stand for themselves.
_ENGLISH_TOO = (
    "bar", "barn", "can", "carton", "coin", "hut", "kind", "main", "mare", "mono", "pain", "pan", "papillon", "pie",
    "pin", "pile", "rind", "robe", "rot", "rue", "sole", "sombrero", "vase",
)  # fmt: skip
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose", "feet": "foot",
    "teeth": "tooth", "people": "person", "oxen": "ox", "uomini": "uomo", "uova": "uovo", "buoi": "bue",
    "yeux": "oeil", "manner": "mann", "hauser": "haus", "baume": "baum", "kuhe": "kuh",
}  # fmt: skip
# (ending of the plural, ending of the singular), by language. Which of them a word follows is left to the other word.
_PLURALS = {
    "English": (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", "")),
    "Spanish": (("ces", "z"), ("es", ""), ("s", "")),
    "French": (("aux", "al"), ("x", ""), ("s", "")),
    "Italian": (("chi", "co"), ("che", "ca"), ("ghi", "go"), ("ghe", "ga"), ("i", "o"), ("i", "e"), ("e", "a")),
    "German": (("en", ""), ("er", ""), ("e", ""), ("n", "")),
}
_ES_AFTER = ("s", "x", "z", "ch", "sh", "o")
_SHORTEST_STEM = 2
# What parts words; between word characters only, since the minus of `-1` is no hyphen.
SEPARATOR = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")


class Meaning(NamedTuple):
    """What a word may stand for: the English word for it, and the language it is a word of."""

    concept: str
    language: str


def folded(name: str) -> str:
    """Without case, width, accents, hyphens and underscores: `Crème_fraîche`, `creme fraiche`."""
    decomposed = unicodedata.normalize("NFKD", name).casefold().replace("œ", "oe").replace("æ", "ae")
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return SEPARATOR.sub(" ", letters).strip()


def meanings(name: str) -> set[Meaning]:
    """What a class name may mean, in the singular or plural; nothing for a name that is not in the table."""
    word = folded(name)
    found = set(_by_word().get(word, ()))
    for language in LANGUAGES:
        for singular in singulars(word, language):
            found |= {meaning for meaning in _by_word().get(singular, ()) if meaning.language == language}
    return found


def singulars(word: str, language: str) -> set[str]:
    """What the singular of a folded word may be, by the rules of a language; the word itself is not among them."""
    found = {_IRREGULAR[word]} if word in _IRREGULAR else set()
    for plural, singular in _PLURALS[language]:
        stem = word.removesuffix(plural)
        if not word.endswith(plural) or len(stem) < _SHORTEST_STEM:
            continue
        if plural == "s" and stem.endswith(("s", "u", "i")):  # glass, bus and the like
            continue
        if (language, plural) == ("English", "es") and not stem.endswith(_ES_AFTER):
            continue
        found.add(stem + singular)
    return found - {word}


@functools.cache
def _by_word() -> dict[str, set[Meaning]]:
    words: dict[str, set[Meaning]] = defaultdict(set)
    for line in _TABLE.strip().splitlines():
        columns = [[word.strip() for word in column.split(",")] for column in line.split("|")]
        for language, column in zip(LANGUAGES, columns, strict=True):
            for word in column:
                words[word].add(Meaning(columns[0][0], language))
    for word in _ENGLISH_TOO:
        if not any(meaning.language == "English" for meaning in words[word]):
            words[word].add(Meaning(word, "English"))
    return dict(words)
