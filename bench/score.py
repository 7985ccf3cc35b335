"""Scores transcripts: one JSON object a line on stdin, one answer a line on stdout. Started by bench/main.ts.

  {"op": "errors", "language": "en", "reference": TEXT, "hypothesis": TEXT}
      -> {"unit": "word" | "character", "errors", "length"}   pool by adding both; the rate is errors / length
      English goes through Whisper's EnglishTextNormalizer, others through BasicTextNormalizer; zh, ja, ko are compared by character.
  {"op": "wordCount", "text": TEXT}                                       -> {"words"}
  {"op": "wordTimes", "ours": [{"word","start","end"}], "theirs": [...]}  -> {"start": [seconds...], "end": [seconds...], "matched"}
      absolute differences on the words that both hold, in the same order
"""
import difflib, json, sys

import jiwer
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

english, basic = EnglishTextNormalizer(), BasicTextNormalizer()
BY_CHARACTER = {"zh", "ja", "ko"}


def errors(request):
    language = request["language"]
    normalise = english if language == "en" else basic
    reference, hypothesis = normalise(request["reference"]), normalise(request["hypothesis"])
    if language in BY_CHARACTER:
        out = jiwer.process_characters(reference.replace(" ", ""), hypothesis.replace(" ", ""))
    else:
        out = jiwer.process_words(reference, hypothesis)
    return {"unit": "character" if language in BY_CHARACTER else "word", "errors": out.substitutions + out.deletions + out.insertions,
            "length": out.hits + out.substitutions + out.deletions}


def word_times(request):
    ours, theirs = ([w for w in request[key] if basic(w["word"]).strip()] for key in ("ours", "theirs"))
    names = [[basic(w["word"]).strip() for w in side] for side in (ours, theirs)]
    start, end = [], []
    for a, b, size in difflib.SequenceMatcher(None, *names, autojunk=False).get_matching_blocks():
        for i in range(size):
            start.append(abs(ours[a + i]["start"] - theirs[b + i]["start"]))
            end.append(abs(ours[a + i]["end"] - theirs[b + i]["end"]))
    return {"start": start, "end": end, "matched": len(start)}


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"errors": errors, "wordTimes": word_times, "wordCount": lambda r: {"words": len(basic(r["text"]).split())}}[request["op"]](request)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
