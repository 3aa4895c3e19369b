"""The words in which products are described.

Each attribute value has several names, and a text uses one of them. A question that says "floral"
must therefore also find "scattered with wild flowers": lexical search alone is not enough.
"""

from __future__ import annotations

COLOURS: dict[str, tuple[str, ...]] = {
    "white": ("white", "chalk", "fresh snow"),
    "cream": ("cream", "ivory", "the colour of buttermilk"),
    "pink": ("pink", "faded rose", "blush"),
    "blue": ("blue", "cornflower", "clear sky blue"),
    "sage": ("sage", "soft grey-green", "olive leaf"),
    "yellow": ("yellow", "lemon", "primrose"),
    "beige": ("beige", "oatmeal", "wet sand"),
    "lilac": ("lilac", "pale lavender", "wisteria"),
    "black": ("black", "jet", "soot"),
    "grey": ("grey", "pewter", "rain cloud grey"),
    "navy": ("navy", "midnight blue", "deep ink"),
    "green": ("green", "bottle green", "moss"),
    "red": ("red", "poppy", "scarlet"),
    "burgundy": ("burgundy", "dark wine red", "black cherry"),
    "mustard": ("mustard", "turmeric", "ochre"),
    "rust": ("rust", "burnt orange", "terracotta"),
    "teal": ("teal", "petrol", "kingfisher"),
    "brown": ("brown", "chestnut", "tobacco"),
    "gold": ("gold", "a warm golden tone", "honeyed metal"),
    "silver": ("silver", "a cool silvery tone", "moonlit metal"),
}

PATTERNS: dict[str, tuple[str, ...]] = {
    "solid": ("in one plain shade", "without any print", "kept to a single colour", "unpatterned"),
    "floral": (
        "with a floral print",
        "covered in small blossoms",
        "scattered with wild flowers",
        "strewn with peonies and trailing stems",
        "printed like a cottage border in June",
    ),
    "striped": ("with stripes", "ruled with fine lines", "in deckchair bands", "pinstriped"),
    "checked": ("checked", "in a windowpane plaid", "in gingham squares", "in a tartan of our own"),
    "polka dot": ("with polka dots", "dotted all over", "sprinkled with round spots"),
    "animal print": ("with an animal print", "marked like a leopard", "with zebra markings"),
    "leaf print": ("with a leaf print", "printed with palm fronds", "crossed by fern shadows"),
    "geometric": ("with a geometric pattern", "in interlocking triangles", "drawn as a tile grid"),
    "paisley": ("with paisley", "filled with curling teardrops", "in an old shawl motif"),
    "cable knit": ("in cable knit", "worked in twisted ropes", "in an Aran stitch"),
    "speckled": ("speckled", "flecked like a bird's egg", "with freckles of iron in the glaze"),
}

MATERIALS: dict[str, tuple[str, ...]] = {
    "cotton": ("cotton", "combed cotton", "sturdy cotton"),
    "organic cotton": ("organic cotton", "cotton from certified organic fields"),
    "cotton voile": ("cotton voile", "whisper-thin cotton voile", "sheer cotton"),
    "linen": ("linen", "European flax", "garment-washed flax cloth"),
    "viscose": ("viscose", "fluid wood-based viscose"),
    "silk": ("silk", "mulberry silk", "heavy sandwashed silk"),
    "wool": ("wool", "lambswool", "pure new wool"),
    "merino": ("merino", "extra-fine merino"),
    "cashmere": ("cashmere", "Mongolian cashmere", "two-ply goat's down from Mongolia"),
    "boiled wool": ("boiled wool", "dense felted wool"),
    "velvet": ("velvet", "plush deep-pile velvet"),
    "corduroy": ("corduroy", "fine-wale cord"),
    "flannel": ("flannel", "thick brushed flannel"),
    "denim": ("denim", "rigid jeans cloth"),
    "down": ("down", "goose and duck plumes in stitched chambers"),
    "recycled polyester": ("recycled polyester", "fibre spun from used bottles"),
    "waxed cotton": ("waxed cotton", "cotton proofed with wax"),
    "trench cotton": ("trench cotton", "tightly woven gabardine"),
    "recycled polyamide": ("recycled polyamide", "yarn regained from fishing nets"),
    "leather": ("leather", "full-grain hide", "vegetable-tanned hide"),
    "suede": ("suede", "soft split hide with a velvety nap"),
    "canvas": ("canvas", "dense sailcloth"),
    "straw": ("straw", "hand-plaited palm"),
    "sterling silver": ("sterling silver", "925 silver"),
    "gold vermeil": ("gold vermeil", "silver under a thick layer of gold"),
    "freshwater pearl": ("freshwater pearl", "softly uneven river pearls"),
    "jute": ("jute", "rough golden bast fibre"),
    "percale": ("percale", "crisp hotel-style cotton"),
    "sateen": ("sateen", "smooth cotton with a gentle sheen"),
    "washed linen": ("washed linen", "stonewashed flax"),
    "brushed flannel": ("brushed flannel", "cosy raised cotton"),
    "terry cotton": ("terry cotton", "looped cotton"),
    "wool bouclé": ("wool bouclé", "nubbly curled wool"),
    "chenille": ("chenille", "soft tufted yarn"),
    "oiled oak": ("oiled oak", "solid oak finished with hard-wax oil"),
    "walnut": ("walnut", "dark American walnut"),
    "powder-coated steel": ("powder-coated steel", "painted metal"),
    "teak": ("teak", "plantation teak"),
    "woven cord": ("woven cord", "weatherproof rope"),
    "stoneware": ("stoneware", "high-fired clay"),
    "porcelain": ("porcelain", "fine white china"),
    "glass": ("glass", "mouth-blown glass"),
    "brass": ("brass", "unlacquered brass"),
    "paper": ("paper", "handmade mulberry paper"),
    "cast iron": ("cast iron", "heavy poured iron"),
    "stainless steel": ("stainless steel", "three-ply steel"),
    "rapeseed wax": ("rapeseed wax", "plant wax"),
}

OCCASIONS: dict[str, tuple[str, ...]] = {
    "garden party": ("a garden party", "tea on the lawn", "lunch under apple trees"),
    "wedding": ("a wedding", "the front pew and the dance floor", "saying yes or watching it"),
    "cocktail party": ("a cocktail party", "drinks at eight", "an evening with olives and ice"),
    "office": ("the office", "days full of meetings", "a desk with a view"),
    "holiday": ("a holiday", "a suitcase going south", "two weeks away"),
    "everyday": ("everyday life", "ordinary Tuesdays", "daily use"),
    "christening": ("a christening", "a baby's big Sunday"),
    "interview": ("an interview", "meeting a new employer"),
    "funeral": ("a funeral", "saying goodbye with dignity"),
    "weekend walk": ("a weekend walk", "muddy Sundays with the dog"),
    "city trip": ("a city trip", "forty-eight hours of museums"),
    "beach": ("the beach", "salt and sand"),
    "pool": ("the pool", "lengths before breakfast"),
    "school": ("school", "the classroom and the climbing frame"),
    "birthday party": ("a birthday party", "cake and musical chairs"),
    "birthday gift": ("a birthday gift", "somebody turning a year wiser"),
    "wedding gift": ("a wedding gift", "a newly married pair"),
    "housewarming gift": ("a housewarming gift", "friends with a new front door"),
    "living room": ("the living room", "the room where everybody gathers"),
    "bedroom": ("the bedroom", "nights and slow mornings"),
    "reading corner": ("a reading corner", "long novels by the window"),
    "children's room": ("a children's room", "a nursery or a small person's den"),
    "guest room": ("the guest room", "visitors who stay the night"),
    "dining room": ("the dining room", "the place where you eat"),
    "hallway": ("the hallway", "the first steps inside the door"),
    "bathroom": ("the bathroom", "the edge of the tub"),
    "desk": ("a desk", "working from home"),
    "dinner party": ("a dinner party", "eight friends around one table"),
    "picnic": ("a picnic", "cheese and cherries on the grass"),
    "terrace": ("the terrace", "paving warmed by the sun"),
    "balcony": ("the balcony", "two square metres of open air"),
}

SEASONS: dict[str, tuple[str, ...]] = {
    "spring": ("in spring", "once the blackbirds start", "for April and May"),
    "summer": ("in summer", "on the hottest days", "from June to August"),
    "autumn": ("in autumn", "when the leaves turn", "for October air"),
    "winter": ("in winter", "when frost sits on the windows", "for the coldest months"),
    "all year": ("throughout the year", "in any month", "whatever the calendar says"),
}

FITS: dict[str, tuple[str, ...]] = {
    "slim": ("The cut is slim.", "It follows the body closely."),
    "regular": ("The fit is regular.", "Take your usual size."),
    "relaxed": ("The fit is relaxed.", "It is cut with plenty of ease."),
    "roomy": ("The fit is roomy.", "There is space to grow."),
}

DEPARTMENTS: dict[str, tuple[str, ...]] = {
    "women": ("From the women's collection.", "Made for women.", "One for her."),
    "men": ("From the men's collection.", "Made for men.", "One for him."),
    "kids": ("From the children's collection.", "Made for kids.", "One for the little ones."),
}

NAMES = (
    "Isolde", "Marlow", "Bryn", "Odette", "Tansy", "Corin", "Linnet", "Ravel", "Sorrel", "Fenn",
    "Maeve", "Alban", "Juno", "Petra", "Rowan", "Sable", "Wilder", "Hesper", "Orla", "Quill",
    "Bramble", "Darcy", "Elowen", "Finch", "Greta", "Harrow", "Imre", "Jarrah", "Kestrel", "Lark",
    "Merle", "Nessa", "Oriel", "Perrin", "Rhea", "Selkie", "Thea", "Ulla", "Vesper", "Wren",
)  # fmt: skip

OPENINGS = (
    "Made of {material} {pattern}, this {noun} comes in {colour}.",
    "A {noun} of {material}, {pattern}, in {colour}.",
    "This {noun} is made of {material} in {colour}, {pattern}.",
    "{name} has long been a favourite: a {noun} in {colour}, {pattern}, made of {material}.",
    "In {colour} and {pattern}, the {name} {noun} shows what {material} can do.",
    "We asked the mill for {material} and turned it into a {noun} in {colour}, {pattern}.",
)
PLURAL_OPENINGS = (
    "Made of {material} {pattern}, these {noun} come in {colour}.",
    "{noun_start} of {material}, {pattern}, in {colour}.",
    "These {noun} are made of {material} in {colour}, {pattern}.",
    "In {colour} and {pattern}, the {name} {noun} show what {material} can do.",
)
OCCASION_LINES = (
    "Chosen with {occasion} in mind, and at its best {season}.",
    "Think of {occasion}; it feels right {season}.",
    "Good for {occasion}, most of all {season}.",
    "Our buyers were thinking of {occasion}, ideally {season}.",
    "You will reach for it {season}, above all for {occasion}.",
)
SECOND_OCCASION_LINES = (
    "It does just as well for {occasion}.",
    "Equally at ease with {occasion}.",
    "Some customers prefer it for {occasion}.",
)
FEATURE_LINES = (
    "Details: {features}.",
    "It has {features}.",
    "Look closer and you find {features}.",
    "Finished with {features}.",
)
EXTRA_LINES = (
    "The makers have worked with us since our second year.",
    "Sewn or finished in a workshop that we visit every year.",
    "A quiet piece that improves with use.",
    "Ask a colleague in the store for a closer look.",
    "Reviewed by buyers as true to its pictures.",
    "Designed in Dublin and tested at home by our own families.",
    "One of the pieces that our buyers own themselves.",
    "The colour differs slightly from batch to batch.",
)
TITLES = (
    "{name} {noun} in {colour}",
    "{noun_start} {name}, {colour}",
    "{name}: {noun} of {material}",
    "{noun_start} {pattern}, {colour}",
    "{name} {noun}, {pattern}",
)
PLURALS = (
    "trousers", "culottes", "chinos", "jeans", "shorts", "trunks", "loafers", "sandals", "boots",
    "flats", "trainers", "shoes", "brogues", "earrings",
)  # fmt: skip
