"""Which combinations of attributes a shop would never sell, and where a group is carried."""

from __future__ import annotations

from ragstone.sample.catalogue import Category, Material

_LEATHER = ("leather", "suede")

NOUN_MATERIALS: dict[str, tuple[str, ...]] = {
    "jeans": ("denim",),
    "chinos": ("cotton",),
    "drawstring trousers": ("cotton", "linen"),
    "pleated trousers": ("wool", "linen", "cotton"),
    "boiler suit": ("cotton", "denim"),
    "overshirt": ("flannel", "denim", "linen", "cotton"),
    "bow blouse": ("silk", "viscose", "cotton"),
    "overcoat": ("wool", "boiled wool"),
    "wrap coat": ("wool", "boiled wool"),
    "belted coat": ("wool", "boiled wool", "trench cotton"),
    "duffle coat": ("wool",),
    "parka": ("down", "recycled polyester", "waxed cotton"),
    "padded coat": ("down", "recycled polyester"),
    "field jacket": ("waxed cotton", "recycled polyester"),
    "raincoat": ("trench cotton", "recycled polyester", "waxed cotton"),
    "mac": ("trench cotton", "recycled polyester"),
    "basket bag": ("straw",),
    "backpack": ("leather", "canvas"),
    "clutch": ("leather", "suede", "straw"),
    "loafers": _LEATHER,
    "block-heel sandals": _LEATHER,
    "sandals": ("leather",),
    "ankle boots": _LEATHER,
    "boots": _LEATHER,
    "Chelsea boots": _LEATHER,
    "Derby shoes": _LEATHER,
    "brogues": _LEATHER,
    "ballet flats": _LEATHER,
    "school shoes": ("leather",),
    "neckerchief": ("silk", "cotton voile", "linen"),
    "voile curtain": ("cotton voile",),
    "carpet": ("wool",),
    "pitcher": ("stoneware", "glass", "porcelain"),
    "hoop earrings": ("sterling silver", "gold vermeil"),
    "signet ring": ("sterling silver", "gold vermeil"),
    "saucepan": ("stainless steel",),
    "skillet": ("cast iron", "stainless steel"),
    "sideboard": ("oiled oak", "walnut"),
    "bistro set": ("teak", "powder-coated steel"),
    "garden bench": ("teak", "powder-coated steel"),
}

MATERIAL_COLOURS: dict[str, tuple[str, ...]] = {
    "denim": ("blue", "navy", "black", "grey", "white", "cream"),
    "leather": ("brown", "black", "beige", "navy", "green", "burgundy", "grey", "white", "red"),
    "waxed cotton": ("green", "navy", "brown", "black"),
    "trench cotton": ("beige", "navy", "black", "green", "rust", "burgundy"),
    "jute": ("beige", "grey", "brown"),
    "straw": ("beige", "brown", "black"),
    "brass": ("gold",),
    "gold vermeil": ("gold",),
    "sterling silver": ("silver",),
    "stainless steel": ("grey",),
    "oiled oak": ("brown", "beige"),
    "walnut": ("brown",),
    "teak": ("brown", "grey"),
    "paper": ("white", "beige"),
    "stoneware": ("white", "cream", "blue", "sage", "grey", "navy", "green", "rust", "brown",
                  "black", "beige", "mustard"),
}  # fmt: skip

MATERIAL_PATTERNS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("leather", "suede", "down", "waxed cotton", "trench cotton", "brass"), ("solid",)
    ),
    "boiled wool": ("solid", "checked"),
    "denim": ("solid", "striped"),
    "jute": ("solid", "striped", "geometric"),
    "glass": ("solid", "striped"),
    "cashmere": ("solid", "striped", "checked", "cable knit"),
    "wool bouclé": ("solid",),
    "corduroy": ("solid", "floral", "polka dot"),
    "porcelain": ("solid", "striped", "floral"),
}

OCCASION_SEASONS: dict[str, tuple[str, ...]] = {
    "garden party": ("spring", "summer", "all year"),
    "picnic": ("spring", "summer", "all year"),
    "beach": ("summer", "all year"),
    "pool": ("summer",),
}

FORMAL = ("wedding", "cocktail party", "interview", "funeral", "christening")
CASUAL_MATERIALS = ("denim", "flannel", "corduroy", "canvas", "straw")

NOUN_PRICES: dict[str, tuple[int, int]] = {
    "dining table": (450, 1500),
    "coffee table": (180, 600),
    "desk": (250, 900),
    "side table": (79, 260),
    "bookcase": (180, 780),
    "wall shelf": (39, 120),
    "sideboard": (350, 980),
    "plant stand": (35, 110),
    "bistro set": (190, 590),
    "garden chair": (69, 220),
    "lounge chair": (190, 790),
    "garden bench": (150, 690),
    "hand towel": (9, 19),
    "bath towel": (17, 35),
    "bath sheet": (25, 49),
    "towel set": (35, 69),
    "bud vase": (12, 30),
    "clutch": (39, 95),
    "runner": (69, 220),
}

NOUN_WITHOUT: dict[str, tuple[str, ...]] = {
    "trainers": ("a 5 cm heel", "a Goodyear welt"),
    "loafers": ("a 5 cm heel",),
    "ballet flats": ("a 5 cm heel", "a rubber tread"),
    "block-heel sandals": ("a soft heel cup",),
    "bikini set": ("a low back", "firm tummy support"),
    "swim shorts": ("a zip with a chin guard",),
    "flat-weave rug": ("a pile of 14 mm",),
    "clutch": ("a padded laptop sleeve", "a strap of adjustable length"),
    "basket bag": ("a padded laptop sleeve",),
    "shirt dress": ("a square neckline",),
    "wrap dress": ("covered buttons down the front", "a concealed zip at the side"),
    "wrap skirt": ("an elasticated back", "a row of buttons"),
    "shawl": ("an oversized square", "hand-rolled edges"),
    "neckerchief": ("a fringe", "an oversized square"),
    "wall shelf": ("soft-close doors", "an anti-tip bracket"),
    "bookcase": ("soft-close doors",),
    "plant stand": ("soft-close doors", "adjustable boards"),
    "desk": ("an extension leaf",),
    "coffee table": ("an extension leaf",),
    "side table": ("an extension leaf",),
    "bistro set": ("stacking legs",),
    "garden bench": ("a folding frame", "stacking legs"),
    "pillar candle": ("notes of fig and cedar", "notes of tomato leaf"),
    "grandad-collar shirt": ("a soft collar",),
    "voile curtain": ("a blackout lining",),
    "bracelet": ("an adjustable chain",),
    "signet ring": ("an adjustable chain", "a secure clasp"),
    "hoop earrings": ("an adjustable chain",),
    "drop earrings": ("an adjustable chain",),
    "skillet": ("a self-basting lid",),
    "griddle pan": ("a self-basting lid",),
    "reading lamp": ("a three-step touch dimmer",),
    "pendant light": ("a three-step touch dimmer", "a swivelling head"),
}

_SMALL = ("clothing", "home textiles")
_ALL_BUT_OUTDOOR = (
    "clothing", "shoes", "accessories", "home textiles", "lighting", "decor", "kitchen",
    "furniture",
)  # fmt: skip

CARRIED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dub1", "ams1", "dub2", "bru1", "ant1", "col1", "lyo1"), _ALL_BUT_OUTDOOR),
    **dict.fromkeys(("crk1", "ham1"), (*_ALL_BUT_OUTDOOR, "outdoor")),
    **dict.fromkeys(("gal1", "utr1", "lil1"), _SMALL),
    "naa1": ("clothing", "shoes", "home textiles"),
    "ven1": ("clothing", "furniture", "outdoor"),
}


def materials_for(category: Category, noun: str) -> tuple[str, ...]:
    """Materials in which this noun is made, in the order of the category."""
    allowed = NOUN_MATERIALS.get(noun, category.materials)
    return tuple(m for m in category.materials if m in allowed)


def colours_for(category: Category, material: str) -> tuple[str, ...]:
    """Colours of the category in which this material comes, or else those of the material."""
    allowed = MATERIAL_COLOURS.get(material, category.colours)
    return tuple(c for c in category.colours if c in allowed) or allowed


def patterns_for(category: Category, material: str) -> tuple[str, ...]:
    """Patterns (repeated ones are likelier) that this material takes."""
    allowed = MATERIAL_PATTERNS.get(material, category.patterns)
    if material != "stoneware":
        allowed = tuple(p for p in allowed if p != "speckled")
    found = tuple(p for p in category.patterns if p in allowed)
    return found or ("solid",)


def occasions_for(
    category: Category, season: str, material: str, colour: str, pattern: str
) -> tuple[str, ...]:
    """Occasions that suit the season and, where there is a dress code, the cloth."""
    sober = colour in {"black", "navy", "grey"} and pattern == "solid"

    def suits(occasion: str) -> bool:
        if season not in OCCASION_SEASONS.get(occasion, (season,)):
            return False
        if occasion in FORMAL and material in CASUAL_MATERIALS:
            return False
        return occasion != "funeral" or sober

    return tuple(filter(suits, category.occasions)) or ("everyday",)


def seasons_for(category: Category, material: Material) -> tuple[str, ...]:
    """Seasons of the material, except for what stands or hangs in a room all year."""
    seasonal = category.department != "home" or category.name in {"throw", "bed linen"}
    return material.seasons if seasonal or category.group == "outdoor" else ("all year",)


def care_for(category: Category, material_name: str, material: Material) -> str:
    """The care line; rugs and upholstery cannot be washed as clothes of the same material are."""
    if category.name == "rug":
        return "Vacuum along the pile, blot spills at once."
    if category.name in {"sofa", "armchair"} and material_name != "leather":
        return "Vacuum weekly, blot spills, dry clean loose covers."
    return material.care


def features_for(category: Category, noun: str, material: str) -> tuple[str, ...]:
    """Features that this noun can have."""
    banned = NOUN_WITHOUT.get(noun, ())
    linen_towel = category.name == "towel" and material == "linen"
    return tuple(
        f
        for f in category.features
        if f not in banned and not (linen_towel and "per square metre" in f)
    )
