"""Small talk: greetings, thanks, who is who, and things remembered over a few turns."""

from draw import say
from names import CODE_WORDS, FIRST_NAMES
from values import COLORS
from wording import capitalised, contract, manner

SIMPLE = [
    (("[hi|hello|hey|good morning|good evening|good day] [|there|you|friend|to you].",
      "[hi|hello|hey] again.", "nice to meet you."),
     "Hello! How can I help you?"),
    (("how are you [|today|this morning|this evening|doing]?", "are you [well|fine|okay] [|today]?",
      "how do you [do|feel] [|today]?", "how is it going?", "how is your day?"),
     "I am fine, thank you."),
    (("[thanks|thank you] [|so much|very much|a lot|for your help|for the answer].",
      "that [was|is] [very|really|] [helpful|kind|good].", "great, [thanks|thank you]."),
     "You are welcome."),
    (("[bye|goodbye|good night|see you|see you soon|see you later|until tomorrow] [|then|friend].",
      "i have to go [now|]."),
     "Goodbye! Have a nice day."),
    (("[who|what] are you?", "[are you|is this] a [robot|machine|human|person|program|computer]?",
      "what [kind of|] [thing|program] are you?"),
     "I am a small language model."),
    (("what can you do [|for me]?", "how can you help [|me]?", "what are you good [at|for]?",
      "what do you know?"),
     "I can answer short questions."),
    (("what is your name?", "do you have a name?", "how are you called?", "tell me your name."),
     "I do not have a name."),
    (("[i am|i feel] [sad|tired|sick|lonely|cold|hungry] [|today|now|this morning].",
      "my day was [bad|hard|long].", "today is a bad day."),
     "I am sorry to hear that."),
    (("[i am|i feel] [happy|great|fine|good|glad] [|today|now|this morning].",
      "my day was [good|great|nice].", "today is a [good|great] day."),
     "I am glad to hear that."),
    (("can you help me [|please]?", "i need [your|some|] help.", "i have a question.",
      "may i ask [you|] something?", "can i ask you [a question|something]?"),
     "Yes, please ask."),
    (("[do you like|do you love] [music|me|dogs|cats|books|rain|tea|cake|sports|art]?",
      "are you [happy|sad|tired|hungry]?", "do you [sleep|eat|dream|drink]?"),
     "I am only a program."),
    (("tell me a joke.", "do you know a joke?", "make me laugh.", "can you tell a joke?"),
     "Why did the clock eat? It was time for lunch."),
    (("[how is|what is] the weather [|today|now|outside]?",
      "is it [raining|cold|warm|sunny] outside?",
      "what time is it [|now]?", "what day is it [|today]?", "where am i?", "how old am i?"),
     "I can not know that."),
    (("you are [wrong|bad|slow|silly|not right].", "that is [wrong|not true|false]."),
     "I am sorry. I still have much to learn."),
    (("you are [nice|great|kind|clever|smart].", "i like you.", "good [job|work|answer].",
      "well done."),
     "Thank you, that is kind."),
    (("[yes|okay|ok|sure|right|fine|good|i see].",
      "[no|no thanks|not now|never mind|maybe later]."),
     "All right."),
]

PETS = "dog cat bird horse rabbit fish mouse goat hen pony".split()
CITIES = ("Berlin London Paris Rome Madrid Vienna Oslo Dublin Lisbon Prague Athens Warsaw Boston "
          "Chicago Denver Dallas Toronto Sydney Tokyo Cairo").split()
JOBS = ("baker teacher doctor farmer driver painter cook nurse pilot singer writer tailor gardener "
        "plumber").split()
FOODS = "bread soup cheese rice pasta cake apples pizza salad fish beans honey plums nuts".split()


def _name(draw):
    return draw.pick(FIRST_NAMES)


# What a user says of themselves, what is answered, how it is asked for later, and the answer.
REMEMBERED = [
    (_name, ("my name is {}.", "i am {}.", "i am called {}.", "call me {}.", "hello, i am {}."),
     "Nice to meet you, {}.",
     ("what is my name?", "who am i?", "do you know my name?", "how am i called?",
      "tell me my name."), "Your name is {}."),
    (lambda draw: draw.pick(COLORS), ("my favorite color is {}.", "i like the color {} most.",
                                      "the color i like best is {}."),
     "{} is a nice color.",
     ("what is my favorite color?", "which color do i like [best|most]?", "what color do i like?"),
     "Your favorite color is {}."),
    (lambda draw: draw.pick(PETS), ("i have a {}.", "i own a {}.", "my pet is a {}.",
                                    "i got a {}."),
     "A {} is a good pet.",
     ("what pet do i have?", "which animal do i have?", "what is my pet?"), "You have a {}."),
    (lambda draw: draw.pick(CITIES), ("i live in {}.", "my home is in {}.", "i come from {}.",
                                      "my city is {}."),
     "I have heard of {}.",
     ("where do i live?", "in which city do i live?", "where is my home?", "which city is mine?"),
     "You live in {}."),
    (lambda draw: draw.pick(JOBS), ("i am a {}.", "i work as a {}.", "my job is {}."),
     "Being a {} is a good job.",
     ("what is my job?", "what do i do for work?", "what do i work as?"), "You are a {}."),
    (lambda draw: draw.pick(FOODS), ("i like to eat {}.", "my favorite food is {}.", "i love {}."),
     "I am told that {} can be good.",
     ("what do i like to eat?", "what is my favorite food?", "which food do i love?"),
     "You like {}."),
    (lambda draw: str(draw.integer(6, 99)), ("i am {} years old.", "my age is {}.",
                                             "i turned {} today."),
     "{} is a good age.",
     ("how old am i?", "what is my age?", "do you know my age?"), "You are {} years old."),
    (lambda draw: draw.pick(CODE_WORDS).lower(), ("the secret word is {}.", "our password is {}.",
                                                  "remember the word {}."),
     "I will remember it.",
     ("what is the secret word?", "which word did i tell you?", "what was the word?"),
     "The word is {}."),
]


def _user(draw, patterns):
    return contract(draw, say(draw, draw.pick(patterns)), 0.3)


def simple(draw):
    patterns, answer = draw.pick(SIMPLE)
    return [("user", manner(draw, _user(draw, patterns))), ("assistant", answer)]


def remembering(draw, between):
    """One or two things told, perhaps something between, then asked for."""
    things = draw.sample(REMEMBERED, draw.integer(1, 3))
    chat, values = [], []
    for value_of, tellings, reply, _, _ in things:
        value = value_of(draw)
        values.append(value)
        told = manner(draw, _user(draw, tellings)).replace("{}", value)
        chat += [("user", told), ("assistant", capitalised(reply.replace("{}", value)))]
    if draw.chance(0.4):
        chat += between(draw)
    for (_, _, _, questions, answer), value in draw.shuffled(zip(things, values)):
        chat += [("user", manner(draw, _user(draw, questions))),
                 ("assistant", answer.replace("{}", value))]
    return chat


def identity(draw):
    """The name in the system prompt is the name to answer with."""
    name = draw.pick(FIRST_NAMES)
    system = say(draw, "[You are|Your name is|You are called|You are an assistant named|"
                       "You are a helper with the name] {}.").replace("{}", name)
    chat = [("system", system)]
    if draw.chance(0.3):
        chat += [("user", manner(draw, _user(draw, SIMPLE[0][0]))),
                 ("assistant", SIMPLE[0][1])]
    question = _user(draw, ("what is your name?", "who are you?", "how are you called?",
                            "do you have a name?", "tell me your name.", "what should i call you?",
                            "may i ask your name?", "who am i talking to?", "whom do i talk to?",
                            "what do they call you?", "please say your name."))
    return chat + [("user", manner(draw, question)), ("assistant", f"I am {name}.")]
