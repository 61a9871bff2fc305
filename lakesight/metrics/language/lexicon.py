"""English words that the tokenizer treats in a way of their own, as Stanford's does."""


def listed(words: str) -> list[str]:
    """Return words that are written with spaces between them."""
    return words.split()


SPLIT = {
    "cannot": ("can", "not"),
    "gimme": ("gim", "me"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "wanna": ("wan", "na"),
}
"""Words that are written as one."""

ABBREVIATIONS = listed("""
    jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri
    mr mrs ms dr prof st ave blvd rd ct sq mt ft jr sr esq messrs mme mlle
    gen col maj capt lt cpl sgt pvt adm cmdr gov pres sen rep hon rev insp det atty supt msgr
    brig comdr drs govs lieut profs reps sens
    adj asst assn assoc bhd bldg bros cie co corp dept elec est ext inc intl ltd mfg natl plc pty
    rt tel treas univ
    al cf etc md ph\\.d seq ste vs jos wm
    ala ariz calif colo conn fla ga ind kan ky mich minn mo mont neb nev okla penn tenn va vt wis
    wyo
""")
"""Words that keep their full stop, in small letters or capitals."""

CAPITAL_ABBREVIATIONS = listed("Ark Del Ill La Mass Miss Ore Pa Tex Wash")
"""Words that keep it only so; in small letters most of them are other words."""

NUMBER_ABBREVIATIONS = listed("art ca fig figs no nos op pp")
"""Words that keep it before a number."""

WITH_APOSTROPHE = listed("c'est c'mon cap'n e'er ev'ry li'l nat'l nor'easter s'mores")
"""Words with an apostrophe inside that no rule covers."""

STARTERS = listed("""
    A After An As At But He Her Here However If In It Many More Now Once One Our She Since So Some
    Such That The Their Then There These They This We What When While You
""")
"""Words that begin a sentence: the single letter with a full stop before them ended one."""

CHARACTERS = {
    "¢": "cents", "£": "#", "¤": "$", "€": "$", "\u20a0": "$",
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "[": "-lsb-", "]": "-rsb-",
    "&amp;": "&", "&lt;": "<", "&gt;": ">",
}  # fmt: skip
"""What stands for a character among the words."""
