"""Golden vectors of Whisper's tokenizers from Hugging Face's Python library and faster-whisper (dev only; run by hand, results committed).

  pip install faster-whisper==1.2.1
  python test/golden/make_tokenizer_golden.py base=MODEL_DIR tiny.en=MODEL_DIR

MODEL_DIR holds tokenizer.json. Writes tokenizer.json beside this script:
  { MODEL: [{ text, language, tokens, decoded, prefixes, words: [[text, tokens]] }] }
prefixes[i] is the decoding of the first i + 1 tokens, with U+FFFD for a character that lacks bytes.
"""
import json, pathlib, sys
import tokenizers
from faster_whisper.tokenizer import Tokenizer

TEXTS = [
    ("en", " Hello world, how are you? I'm fine, don't worry."),
    ("en", " Well... \"quoted\" (aside) - dash -- 3.14 $5,000 50% e.g. U.S.A.'s"),
    ("en", "no leading space\nand a line break\ttab  two spaces "),
    ("en", " caf\u00e9 na\u00efve \u00dcber \u0141\u00f3d\u017a \u2014 \u201ccurly\u201d \u2026"),
    ("en", " party \U0001f389 family \U0001f468\u200d\U0001f469\u200d\U0001f467 flag \U0001f1f5\U0001f1f1 ok \U0001f44d\U0001f3fd"),
    ("en", " \u266a music \u266a [noise] <tag> {x} \\ / @ #"),
    ("en", " supercalifragilisticexpialidocious antidisestablishmentarianism"),
    ("zh", "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4eca\u5929\u5929\u6c14\u600e\u4e48\u6837\uff1f\u9f98\U00020bb7"),
    ("ja", "\u3053\u3093\u306b\u3061\u306f\u3001\u4e16\u754c\u3002\u30c6\u30b9\u30c8\u3067\u3059\u3002"),
    ("yue", "\u4f62\u54cb\u5605\u5622\u5497"),
    ("th", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01"),
    ("ko", " \uc548\ub155\ud558\uc138\uc694 \uc138\uacc4"),
    ("hi", " \u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e"),
    ("ar", " \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645"),
    ("ru", " \u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!"),
    ("en", " broken \ufffd sign"),
]

result = {}
for argument in sys.argv[1:]:
    name, folder = argument.split("=")
    raw = tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")
    rows = []
    for language, text in TEXTS:
        tokens = raw.encode(text, add_special_tokens=False).ids
        # faster-whisper's wrapper knows no language in .en models, whatever their text is: give the rule by hand
        wrapper = Tokenizer(raw, True, "transcribe", language if raw.token_to_id(f"<|{language}|>") else "zh")
        texts, token_lists = wrapper.split_to_word_tokens(tokens)
        rows.append({
            "text": text, "language": language, "tokens": tokens, "decoded": raw.decode(tokens),
            "prefixes": [raw.decode(tokens[:end]) for end in range(1, len(tokens) + 1)],
            "words": [list(pair) for pair in zip(texts, token_lists)],
        })
    result[name] = rows
target = pathlib.Path(__file__).with_name("tokenizer.json")
lines = [json.dumps(name) + ": [\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in result.items()]
target.write_text("{\n" + ",\n".join(lines) + "\n}\n")
