"""What the three notes of each template say, in Markdown.

The note "Model links" lists the files of the graph's nodes by itself; `links` is what it says
besides.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notes:
    """`tall` is the pixels that the tallest of the three needs in Nodes 2.0."""

    does: str
    change: str
    links: str = ""
    tall: int = 180


PROFILE = """
**The server.** Address and key never stand in a workflow, only the name *mine*. Write
`user/__reflectionflow/profiles.json` in ComfyUI's folder:

    {"mine": {"base_url": "https://example.org/v1", "api_key": "…", "model": "…"}}
"""
OWN_FLUX = """
fp8, bf16 or GGUF: choose your own file in **Load Diffusion Model**, or put a GGUF loader in its
place. Style LoRAs go behind it.
"""
JUDGE = """
- the judge needs a ComfyUI that has the node *Generate Text* (0.24 or newer). In an older one
choose another *source* in **Vision model**: a folder on this machine, or a server
"""

FIRST_LOOK = Notes(
    """
### Press Run. It takes seconds, and downloads nothing.

A very small FLUX, built into this pack, paints two pictures of *three red circles*, and both are
wrong. Then, round by round, a judge says what is wrong with each picture, a critic puts it as an
instruction, and the corrector repaints the picture. The search ends when a picture is right.

On the contact sheet a row is a draft and its corrections. *Wrong* is what the judge found, *Asked*
what the corrector was told. The golden frame is the best of all.
""",
    """
- the **seed**: other drafts, other mistakes
- the **prompt**: *a photo of a red triangle and a green square*. The miniature knows circles,
squares, triangles and crosses in red, green, blue, yellow, purple, pink and black
- *stop* `never`: every chain goes on to the end
""",
    tall=220,
)

FIX_MINIATURE = Notes(
    """
A picture, what it is to show, and what to change in your own words. The corrector repaints it as
you say. Without a mask the rest may change a little, too.

A red circle is painted here, so that it runs at once. Put **Load Image** in place of the Draft
Sampler for a picture of your own: flat shapes, since this is the miniature.
""",
    """
- **words** and **prompt** together: *turn the red circle into a triangle* and *a photo of a red
triangle*; *add a blue square* and *a photo of a red circle and a blue square*
- the **seed** of Fix Picture: another try
- a **mask**: nothing outside of it changes
""",
)

BY_HAND = Notes(
    """
What Reflection Loop does, as five nodes: **paint** drafts, **judge** them, say **what to change**,
sharpen the **prompt**, **correct**, and judge again. It begins with the drafts of the first look.
There a correction changes only the place of a fault; here it repaints the whole picture. Wire
*verdicts* of Verifier Score to Corrector Sampler, and it is as there.

Take it apart where you like: your own picture in place of the drafts, words of your own, another
judge.
""",
    """
- the **prompt** on the left; every node takes it from there
- the **seed** of Draft Sampler: other drafts; that of Corrector Sampler: other corrections
- another round: copy the last four nodes, wire them to *images* and *verdicts* of the last
Verifier Score, and set *round* to 2
- on FLUX: **FLUX from MODEL, CLIP, VAE** and **Load Corrector** of *2.1* in place of FLUX Loader, a
**Vision model** wired to Judge and Critic, and *what a vision model sees* in Judge
""",
    tall=230,
)

SEARCH = Notes(
    """
FLUX paints a draft of any prompt. A vision model looks at it, asks about every part of your prompt,
and says what is wrong; the corrector repaints it, or FLUX starts again where that did not help. The
search ends when a picture shows all that you asked for, or after the last round; then you get the
best so far.

**Cancel** keeps every finished round. On the contact sheet a row is a draft and its corrections,
and the golden frame is the best of all.
""",
    f"""
- the **prompt** and the **seed**
- *chains* and *rounds*: more pictures side by side, more corrections. More rounds later paint only
the new ones
- *strategy* `scouts`, with more rounds: quick previews first, and only what passes is painted on
- *ground* in **Judge**: the vision model also says where the faults are, and corrections change
only these places. For models that give coordinates, such as Qwen3-VL
- {OWN_FLUX.strip()}
{JUDGE.strip()}
""",
    tall=320,
)

SERVER_SEARCH = Notes(
    """
The search of *2.1*, but judge and critic ask a vision model behind a server: a model too large for
your card, or one that runs on another machine. FLUX and its corrector run here.

Pictures leave this machine. A server whose judge is blind or silent ends the search before
anything is painted.
""",
    """
- the **prompt** and the **seed**
- *profile* in **Vision model**: the server. Any OpenAI-compatible one with a model that sees will
do; `http://localhost:11434/v1` (Ollama) needs no key
- *send_pictures*: must be on for a server outside your own network
""",
    PROFILE,
    330,
)

FIX_BY_WORDS = Notes(
    """
Your picture, what it is to show, and what to change in your own words. The corrector repaints it
as you say. No judge, no search.

To change one place only, right-click the picture, *Open in MaskEditor*, and paint over it: nothing
outside of that changes, bit for bit. Paint nothing, and the whole picture may change.
""",
    f"""
- **words**, as a command: *remove the apple on the left*, *turn the mug green*
- the **prompt**: what the whole picture is to show *after* the fix
- the **seed**: another try
- {OWN_FLUX.strip()}
""",
    tall=230,
)

FIX_CRITIC = Notes(
    """
Your picture, and what it is to show. A vision model finds what is wrong with it, and the corrector
fixes that. If nothing is wrong, the picture comes out unchanged; otherwise all of it is repainted,
and a mask protects the rest.

**Fix Picture** shows what was asked for. If you type *words* of your own, they are used instead,
and no vision model is asked.
""",
    """
- the **picture**, and the **prompt**: what it is to show
- the **seed**: another try
- run it again on the result: it works best with one thing at a time
- wire **MASK** into *mask*, so that nothing outside of it changes
"""
    + JUDGE.lstrip(),
    tall=265,
)

RANK_FOLDER = Notes(
    """
Put pictures into a folder below ComfyUI's `input`, for instance `input/my_pictures`, reload the
page, choose the folder, and say what the pictures were to show. You see them ranked, the best
first, each with its score, what is wrong, and boxes where the judge gives them: green around what
is right, red around what is wrong. The report has the same as data; *index* is a picture's place,
from 0 on, in the order in which ComfyUI lists the folder.

**Without a vision model**: delete *Load CLIP* and **Vision model**, and choose *what is there*,
*what is written* or both in **Judge**. Its help page (*i*) says what they need: a detector of 1 MB,
and an OCR. They read plain prompts, such as `a cat and a sign that says "OPEN"`.
""",
    """
- the **prompt**, and the folder
- *keep* 4: only the best four are output
- after adding pictures: *Edit → Unload Models and Execution Cache*
- **Verifier Ensemble** joins several judges
"""
    + JUDGE.lstrip(),
    tall=310,
)

BEST_OF_MANY = Notes(
    """
Best of N: the prompt is painted up to eight times, each from other noise, a vision model judges
every picture, and the best is kept. It ends as soon as one is right. Nothing is corrected, so no
corrector is needed.

On the contact sheet a column is a round of pictures. The golden frame is the best of all.
""",
    f"""
- the **prompt** and the **seed**
- *chains* and *rounds*: the drafts and each round are *chains* pictures
- *stop* `never`: all are painted
- {OWN_FLUX.strip()}
{JUDGE.strip()}
""",
    tall=235,
)

MANY_PROMPTS = Notes(
    """
A list of prompts, and a number of pictures for all of them together. FLUX paints drafts of each, a
vision model judges them, and every further round goes to the prompt that gains most by it: those
that nearly pass come before the hopeless ones, and one that has passed gets no more.

**Cancel** keeps every finished picture. On the sheet a row is a prompt, and the golden frame is its
best picture.
""",
    f"""
- the **prompts**, one a line, and the **seed**
- *pictures in all*: two a prompt are enough to begin with. A larger number later paints only the
new ones, and so does one more prompt
- *histories* wired to **Reflection Trail**: each prompt's own contact sheet, and its files
- {OWN_FLUX.strip()}
{JUDGE.strip()}
""",
    tall=270,
)

KSAMPLER = Notes(
    """
No search, no judge, and ComfyUI's own nodes all the way. *2* paints a draft as usual. *3* is the
same again from an empty latent, with a MODEL from **Load Corrector** and a positive from
**Corrector Conditioning**, which shows it the draft.

*cfg* and *denoise* stay at 1: the corrector starts from noise and sees the draft beside it. Both
KSamplers share one FLUX in memory.
""",
    """
- in **My words** what comes after *[Reflexion]*, and the prompt before it: what the picture is to
show *after* the correction
- the **seed** of the second KSampler: another try
- **Load Image** in place of the first VAE Decode: a picture of your own
""",
    tall=230,
)

KONTEXT = Notes(
    """
FLUX.1-dev paints the drafts, a vision model judges them, and **FLUX.1 Kontext** corrects: it is
shown a picture and told in plain words what to change. No corrector file is needed.

FLUX.2 or Qwen-Image-Edit will do as well, each with its own CLIP and VAE.
""",
    f"""
- the **prompt** and the **seed**
- {OWN_FLUX.strip()}
{JUDGE.strip()}
""",
    tall=280,
)

STAGED = Notes(
    """
For crowded prompts. **Scene Planner** takes the prompt apart: what to draw first, what to add
then. Every picture is inspected by its stage: what belongs to a later stage is no fault, what is
wrong is fixed once, and then the next stage is drawn. A chain ends when its picture shows all of
the prompt.
""",
    """
- the **prompt**
- *own_plan* of Scene Planner: the plan that it shows, changed by you
- *rounds*: two for each stage are enough
"""
    + JUDGE.lstrip(),
    tall=265,
)

EXACT_WORDS = Notes(
    """
The words in quotation marks must stand on the picture, letter by letter. The judge reads every
picture with an OCR on the CPU and compares; a critic says what to change, and the corrector
repaints it, until the words are right.

It judges nothing but the writing.
""",
    """
- the **prompt**: what is in quotation marks must be there, once, and exactly
- *chains*: writing often succeeds by chance, so more drafts help
- without the vision model the critic repeats the judge's words, which are commands already
- to count and place things instead: *what is there* in **Judge**, with a detector
""",
    """
**The OCR.** In the pack's folder, with ComfyUI's Python: `python -m pip install -e ".[text]"`,
then `python -m pip install --no-deps rapidocr`. Its weights are in the package.
""",
    330,
)

ONE_MODEL = """
- the **prompt** and the **seed**
- *chains* and *rounds*: more pictures side by side, more corrections
- another file of the same model in **Load Diffusion Model**; LoRAs go behind it
"""
SINCE = "Needs a ComfyUI that has these nodes and encoders (0.33 is tested); 0.8 does not know"

KREA2 = Notes(
    """
**Krea 2** paints a draft in eight steps. Its own text encoder, Qwen3-VL, is a vision model: the
same one in memory looks at every picture, asks about every part of your prompt, and says what is
wrong. Nothing beyond the files of Krea 2's own template is loaded.

Krea 2 cannot edit, so a correction repaints the picture with denoise 0.75 by a sharper prompt.
""",
    ONE_MODEL.rstrip()
    + """
- *corrections* in **Painter from MODEL**: *image to image* sets how much is repainted
""",
    f"{SINCE} Krea 2.",
    230,
)

KLEIN = Notes(
    """
**FLUX.2 klein** paints and corrects: four steps a picture, and for a correction it is shown the
picture and told in plain words what to change. One file of Qwen3-VL reads the prompts and looks at
the pictures.

The file is loaded twice, because for klein ComfyUI loads only the part that reads text.
""",
    ONE_MODEL.rstrip()
    + """
- *klein base* in **Load Diffusion Model**: twenty steps with cfg 5, recognised by its name
""",
    f"""klein's own template reads prompts with `qwen_3_4b.safetensors`, and some users report
better pictures with it. If you have it, load it in the first **Load CLIP**.

{SINCE} Qwen3-VL.""",
    250,
)

QWEN_IMAGE = Notes(
    """
**Qwen-Image** paints, **Qwen-Image-Edit** corrects: it is shown the picture and told in plain words
what to change. Both read with one text encoder, Qwen2.5-VL, which looks at the picture to edit, and
judges as well (1.1 GB more, for its output layer): no file beyond those of their own templates.
""",
    """
- the **prompt** and the **seed**
- *steps*, *cfg* and the others stay at 0: as in the models' own templates. A Lightning LoRA behind
**Load Diffusion Model** is recognised by its name, and paints in its few steps
- Qwen-Image-Edit 2511 in the second loader is recognised as well
"""
    + JUDGE.lstrip(),
    tall=250,
)

Z_IMAGE = Notes(
    """
**Z-Image-Turbo** paints a draft in eight steps, a vision model says what is wrong with it, and
Z-Image-Turbo repaints it with denoise 0.75 by a sharper prompt, since it cannot edit.

Its own text encoder cannot see pictures, so the judge is one more file.
""",
    ONE_MODEL.rstrip()
    + f"""
- *corrections* in **Painter from MODEL**: *image to image* sets how much is repainted
{JUDGE.strip()}
""",
    tall=230,
)
