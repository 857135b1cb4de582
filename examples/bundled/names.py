"""The names that invented firms, people and streets are made of."""

FIRST_NAMES = (
    "Ada Adam Agnes Alan Albert Alice Amy Andrew Anna Arthur Ben Bella Bernard Bianca Boris Bruno "
    "Carl Carla Cecil Clara Claude Conrad Cora Daisy Daniel David Dora Doris Earl Edgar Edith "
    "Elias Ella Elsa Emil Emma Eric Esther Eva Felix Fiona Flora Frank Fred Gail George Gina "
    "Grace Greta Gus Hanna Harold Hazel Helen Henry Hilda Hugo Ida Igor Iris Isaac Ivan Ivy Jack "
    "Jacob James Jane Jasper Joan Joel John Judith Julia Karl Kate Klara Kurt Lara Laura Leo Lena "
    "Lewis Lily Linda Louis Lucy Luke Mabel Marco Maria Mark Martha Martin Mary Max Mia Milo Mona "
    "Nancy Nell Nina Noah Nora Olga Oliver Olive Oscar Otto Pablo Paul Paula Peter Petra Philip "
    "Rachel Ralph Rita Robert Rosa Rose Ruth Sam Sara Simon Sofia Stella Susan Sven Tara Thomas "
    "Tilda Tim Toby Ursula Vera Victor Viola Walter Wanda Wendy William Yara Zoe").split()

LAST_NAMES = (
    "Abbott Adler Archer Atwood Bailey Banks Barlow Baxter Becker Bell Benson Berger Bishop Black "
    "Blake Bolton Booth Bowen Brandt Brewer Brook Burton Butler Calder Carter Castle Chandler "
    "Cole Collins Conway Cooper Corbin Crane Cross Dalton Davis Dawson Dexter Dixon Doyle Draper "
    "Drew Dunn Easton Ellis Ferris Fields Finch Fisher Fletcher Forbes Foster Fowler Frost Fuller "
    "Gardner Garrett Gibbs Gordon Graham Grant Gray Hale Hammond Hardy Harper Hart Hayes Heath "
    "Henson Holden Holt Hooper Howard Hudson Hunter Irving Jarvis Jensen Keller Kemp King Knight "
    "Lambert Lane Larson Lawson Lindgren Logan Lowe Marsh Mason Mercer Miller Mills Monroe Moore "
    "Morgan Moss Nash Nelson Newton North Norton Olsen Osborn Page Palmer Parker Pearce Perry "
    "Porter Powell Quinn Ramsey Reed Rhodes Rivers Rowe Russell Sanders Sawyer Shaw Shepherd "
    "Stark Stone Sutton Swift Tanner Taylor Thorne Turner Vance Wagner Walker Wallace Ward Warren "
    "Waters Weaver Webb Wells West Wheeler Winter Wolf Wood Wright Yates").split()

NAME_HEADS = (
    "Acorn Alder Amber Apple Arrow Ash Autumn Barley Bay Beacon Bear Berry Birch Blue Bramble "
    "Bright Briar Bronze Brook Cedar Cherry Clay Clear Cliff Clover Cloud Coal Coral Corn Crane "
    "Crow Crystal Deer Dove Dune Dusk Eagle East Elder Elm Ember Falcon Feather Fern Field Finch "
    "Fire Flint Forest Fox Frost Glen Gold Granite Grass Green Grey Hare Harvest Hawk Heath Hedge "
    "Heron High Hill Holly Iron Ivy Jade Juniper Kite Lake Lark Laurel Leaf Lily Lime Linden Long "
    "Lotus Maple Marble Meadow Mill Mist Moon Moor Moss Night North Nut Ocean Olive Orchard Otter "
    "Owl Pearl Pebble Pine Plum Poplar Quartz Rain Raven Red Reed Ridge River Robin Rose Ruby "
    "Rush Sage Salt Sand Sea Shell Silver Sky Snow South Sparrow Spring Star Steel Storm Summer "
    "Sun Swan Thistle Thorn Tide Timber Tulip Valley Velvet Violet Water West Wheat White Wild "
    "Willow Wind Winter Wolf Wren").split()

NAME_TAILS = (
    "bank beck berg bridge brook burn bury bush court cove croft dale den dell fall field ford "
    "gate glen grove ham haven hill holm hurst land lane leigh ley light line lock low march mark "
    "mere moor mount nest path pond point port ridge rise rock side song spring stead stone "
    "stream ton tower town tree vale view ville walk water way well wick wing wood "
    "worth yard").split()

STREET_KINDS = "Street Street Street Road Road Lane Way Square Avenue Court".split()

# Trade word at the end of a firm's name, what its people are called, and what it sells.
TRADES = {
    "bakery": (["Bakery", "Bread", "Bakers"],
               ["rye bread", "apple cake", "cheese roll", "plum tart", "white loaf", "butter bun",
                "nut bread", "cream puff", "oat cookie", "seed roll"]),
    "cycles": (["Cycles", "Bikes", "Bike Shop"],
               ["city bike", "road bike", "bike lock", "front light", "child seat", "tire change",
                "brake check", "bike bell", "air pump", "chain kit"]),
    "dental": (["Dental", "Dental Care", "Dentists"],
               ["tooth cleaning", "gold crown", "first visit", "night guard", "white filling",
                "tooth brush", "mouth wash", "check up", "x-ray", "child visit"]),
    "flowers": (["Flowers", "Florist"],
                ["rose bunch", "tulip bunch", "green plant", "clay pot", "spring wreath"]),
    "books": (["Books", "Book Shop"],
              ["road map", "cook book", "blank book", "wall calendar", "picture book"]),
    "garage": (["Garage", "Motors", "Auto Service"],
               ["oil change", "car wash", "new battery", "winter tire", "seat cover"]),
    "cafe": (["Cafe", "Tea House", "Coffee"],
             ["black coffee", "green tea", "hot soup", "lunch plate", "fruit juice"]),
    "hotel": (["Hotel", "Inn", "Guest House"],
              ["single room", "double room", "family room", "breakfast tray", "late check out"]),
    "garden": (["Garden", "Nursery", "Plants"],
               ["rose bush", "lemon tree", "bag of soil", "garden hose", "hand rake"]),
    "hair": (["Hair", "Barbers", "Salon"],
             ["short cut", "long cut", "beard trim", "hair color", "hair wash"]),
    "toys": (["Toys", "Toy Shop", "Games"],
             ["wooden train", "board game", "soft bear", "paint box", "puzzle set"]),
    "clocks": (["Clocks", "Watches", "Jewelers"],
               ["wall clock", "wrist watch", "silver ring", "watch strap", "gold chain"]),
    "tools": (["Tools", "Hardware", "Iron Works"],
              ["hand saw", "steel hammer", "power drill", "box of nails", "paint brush"]),
    "shoes": (["Shoes", "Boots", "Shoe Repair"],
              ["leather boot", "running shoe", "heel repair", "shoe polish", "wool sock"]),
    "music": (["Music", "Music School", "Guitars"],
              ["piano lesson", "violin string", "small drum", "song book", "guitar lesson"]),
    "print": (["Printing", "Print Shop", "Copy House"],
              ["color copy", "name card", "large poster", "photo print", "paper bag"]),
    "farm": (["Farm", "Farm Shop", "Dairy"],
             ["fresh milk", "box of eggs", "goat cheese", "bag of apples", "jar of honey"]),
    "vet": (["Vets", "Animal Clinic", "Pet Care"],
            ["dog check", "cat check", "flea bath", "claw trim", "pet chip"]),
    "optics": (["Optics", "Glasses", "Eye Care"],
               ["eye test", "sun visor", "reading lens", "lens cleaner", "leather case"]),
    "wood": (["Woodwork", "Furniture", "Carpenters"],
             ["oak table", "pine chair", "book shelf", "bed frame", "small stool"]),
}
PRODUCTS = sorted({product for _, products in TRADES.values() for product in products})

# Plain words: discount codes, passwords and lists.
CODE_WORDS = (
    "APPLE BEACH BERRY BIRD BONUS BREEZE CANDY CLOUD COMET DAISY EAGLE EARLY EXTRA FLAME FRESH "
    "GARDEN GIFT GLOBE HAPPY HONEY JOLLY LEMON LIGHT LUCKY MAGIC MAPLE MELON MERRY OCEAN PEACH "
    "PIANO PLUM RIVER ROBIN SMILE SPARK SPRING STAR SUNNY TIGER TULIP WELCOME WINTER ZEBRA").split()
