"""What the note in each workflow says, in Markdown."""

from __future__ import annotations

import re

CORRECTOR = "pytorch_lora_weights.safetensors"
FLUX = "flux1-dev.safetensors"
KONTEXT = "flux1-dev-kontext_fp8_scaled.safetensors"
CLIP_L, T5 = "clip_l.safetensors", "t5xxl_fp8_e4m3fn.safetensors"
VAE = "ae.safetensors"
QWEN, REWARD_BASE = "Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL-3B-Instruct"
QWEN_CLIP = "qwen3.5_4b_bf16.safetensors"
PICKSCORE, REWARD = "PickScore_v1", "Image-Verifier"

FIRST_LOOK = """
## ReflectionFlow: first look

### Press Run. It takes seconds, and downloads nothing.

A very small FLUX, built into this pack, paints two pictures of *three red circles*, and both are
wrong: one shows four, in the other two circles have grown together.

Then, three times over, a verifier says what is wrong with each picture, a writer puts it as an
instruction, and the corrector repaints the picture as told. The loop in the middle shows every
round as it happens.
"""

CHANGE_FIRST_LOOK = """
- the **seed**: other drafts, other mistakes
- the **prompt**: *a photo of a red triangle and a green square*, *a photo of a green square
left of a purple circle*. The miniature knows circles, squares and triangles in red, green, blue,
yellow and purple; anything else it refuses, with an example of what it knows
- the **depth**: 3 to 5. Only the two new rounds are painted
"""

READ_SHEET = """
A row is a draft and its corrections, from left to right. *Wrong* is what the verifier found,
*Asked* what this picture was told to change, *Prompt* how it was rewritten. The golden frame is
the best of all.
"""

READ_NOISE = """
A column is a round of pictures, each from noise of its own. *Wrong* is what the verifier found.
The golden frame is the best of all.
"""

FULL_SEARCH = """
## Full search

The whole method: four drafts are painted, the best three begin a chain each, and every chain is
corrected three times. In every round a picture may change along three axes: new **noise**, a
sharper **prompt**, and the **reflection**, which says what to change.

**Search Options** switches the axes one by one, lets a chain go on from its *best* picture
instead of its latest, and sets budgets: `max_images` 8 ends this search after eight pictures.
**FLUX Sampling** says how FLUX paints; 0 leaves a number to the model.

**save_run** is on: every picture is written below `output/reflectionflow` as it is painted, and
in the end a contact sheet and a web page. Interrupt it, or pull the plug, and queue the same
graph again: it goes on where it was.
"""

CHANGE_FULL_SEARCH = """
- *width*: more chains, more chances
- *depth*: raise it later, and only the new rounds are painted
- *stop* `when passed`: ends at the first picture that is right
"""

ADAPTIVE = """
## A search that adapts

It begins with **one** picture. If that passes, the search is over; a prompt that proves hard gets
more chains and more rounds. In every round each chain does one of these:

- *continue*: correct its latest picture, as long as that helps
- *backtrack*: correct its best picture again, in other words and from other noise
- *fresh*, *evolve*: begin anew, from your prompt or from a rewritten one
- *stop*: a picture has passed

The sheet says under each picture what was done. It needs a verifier that can say what passed.
"""

CHANGE_ADAPTIVE = """
- the **prompt** and the **seed**: an easy prompt ends at once
- *policy* in **Search Options**, under its advanced inputs: `restart` begins anew on a fixed
schedule, `steady` only corrects
- *max_images* there: what it may cost at most
"""

BY_HAND = """
## The search, wired by hand

What Reflection Loop does, as five nodes in two rounds: **paint** drafts, **judge** them,
**write** what to change, sharpen the **prompt**, **correct**; and again. Take it apart where you
like: put your own picture in place of the drafts, type reflections of your own, let another model
judge.

With the same prompt, seed and width it paints the same pictures as *First look*. The drafts are
judged *best first* and the best two begin the chains; after that *as given* keeps every chain in
its place. Each Corrector Sampler says which *round* it is, so that each has noises of its own.

**What to change first:** the prompt and the seed on the left; every node takes them from there.
"""

ROUNDS_BY_HAND = """
## Rounds, chained by hand

Each **Reflection Round** is one round of the search: the first paints the drafts, every other one
corrects each chain once. Put anything between two rounds, or look at what each of them painted.

**What to change first**

- the **seed** in Reflection Start
- *stop* `when passed`: as soon as one picture is right the search is finished, and a finished
search passes through the rounds that are left at no cost; here round 2 then paints nothing
- copy the last round and chain it on: only the new one is painted
"""

NOISE_ONLY = """
## Noise only

The simplest way to spend more compute: paint the prompt eight times, each from other noise, and
keep the best (best of N). Nothing is corrected and nothing rewritten, so it needs no corrector,
writer or evolver. It is what a correction has to beat.
"""

CHANGE_NOISE_ONLY = """
- *width* and *depth*: width pictures in each of depth + 1 rounds
- *stop* `when passed`: ends at the first picture that is right
- with **Search Options** on the loop, *noise_search* `zero_order` looks around the best noise so
far instead of drawing new noise
"""

PATHS = """
## Paths

Search over paths: the best pictures so far are taken back to noise and painted on from there, with
fresh noise. Round by round they go back less far, so first other pictures come of them and in the
end only small changes. No corrector, writer or evolver is needed.

With the miniature it was worse than *noise_only*: it is here to be compared.
"""

CHANGE_PATHS = """
- *width*: how many of the best pictures go back in each round
- *depth*: the level of noise falls from 0.9 by 0.1 a round, to 0.3
- *strategy* `noise`: the same steps spent on new pictures, to compare
"""

READ_PATHS = """
A column is a round, and an arrow leads from a picture to what came of it on another path. *Wrong*
is what the verifier found. The golden frame is the best of all.
"""

POTENTIAL = """
## Potential

Look before you paint. Every picture is first foreseen in six long steps, from the very noise that
it would be painted from; what promises no progress is **dropped**, and the steps that it would
have taken pay for other pictures of the next round. What promises well is painted, and corrected
in later rounds, as in *full_search*.

A look costs six steps, so it pays where a picture takes many: **FLUX Sampling** asks for 30. With
the miniature's own 12 it saves nothing. Switch *prompt* and *reflection* off in **Search
Options**, wired to the loop, and it paints new pictures only.
"""

CHANGE_POTENTIAL = """
- *stop* `when passed`: ends at the first picture that is right
- *drafts*: first pictures; the very first is painted, the others are looked at before
- *strategy* `reflection`: the same without looking, to compare the steps
"""

READ_POTENTIAL = """
A row is a picture and its corrections. *Dropped* pictures are as they were foreseen, and nothing
goes on from them. *Wrong* is what the verifier found. The golden frame is the best of all.
"""

SCORE_FOLDER = """
## Score a folder of your own pictures

Put pictures into a folder below ComfyUI's `input`, for instance `input/my_pictures`, reload the
page, choose the folder, say what the pictures were to show, and press **Run**. You see them
ranked, best first, and a report: for each its score and what is wrong. `index` is its place among
the pictures as they were loaded, from 0 on.

ComfyUI remembers a folder that it has read. After adding pictures choose *Edit → Unload Models
and Execution Cache* and run again.

**What to change first**

- the **prompt**
- *keep*: 4 hands on the best four only

**Shapes only, for now.** The verifier here reads circles, squares and triangles in red, green,
blue, yellow and purple on a plain ground, such as *First look* saves in `output/reflectionflow`,
or as you draw them. Verifiers for any prompt and any picture ask a vision-language
model: choose *checklist* in Verifier Loader, and wire **Vision-Language Model: endpoint** into it.
"""

CORRECT = """
## Correct my picture, with my own words

No search, no verifier: a picture, what it is to show, and what to change, in the imperative. The
corrector repaints the picture as you say and leaves the rest.

**What to change first**

- **reflections**: *remove the apple on the left*, *turn the mug green*
- the **prompt**: it says what the picture is to show *after* the correction
- the **seed**: another try
- several pictures at once (a batch) take one text for all; a node that makes a list of texts
gives each its own
"""

CORRECT_MINIATURE = """
## Correct a picture, with my own words

No search, no verifier: pictures, what they are to show, and what to change, in the imperative.
The corrector repaints each picture as you say and leaves the rest where it was.

Four red circles are painted here, so that it runs at once; put **Load Image** in place of the
Draft Sampler for a picture of your own. It should show flat shapes: this is the miniature.

**What to change first**

- **reflections** and **prompt** together: *turn the red circle into a triangle* and *a photo of a
red triangle*; *add a blue square* and *a photo of a red circle and a blue square*
- the **seed** of the Corrector Sampler: another try
"""

ANY_PROMPT = """
Any prompt will do: the corrector needs no verifier. We have not run this graph on FLUX.1-dev yet;
its miniature twin is run by our tests.
"""

SHAPES_VERIFIER = """
**Shapes only, for now.** The verifier here knows circles, squares and triangles in red, green,
blue, yellow and purple, and was made for the miniature's flat pictures: of FLUX's pictures its
verdicts mean little. *vlm_search* has a verifier for any prompt.
"""

SHAPES_ONLY = f"""{SHAPES_VERIFIER.rstrip()} We have not run this graph
on FLUX.1-dev yet; its miniature twin is run by our tests.
"""

FLUX_FILES = """
**Files**

- [FLUX.1-dev](https://huggingface.co/black-forest-labs/FLUX.1-dev): the whole diffusers folder,
as `models/diffusers/FLUX.1-dev`. Accept its licence on that page first.
"""

CORRECTOR_FILES = f"""{FLUX_FILES.rstrip()}
- [the published corrector](https://huggingface.co/diffusion-cot/FLUX-Corrector): `{CORRECTOR}`,
into `models/loras`.
"""
MINIATURE = """ This is the miniature twin: a very small FLUX, built into this pack, paints 64 x
64 pixels in seconds, and nothing is downloaded. It knows prompts about shapes only.
"""

NATIVE_SEARCH = """
## Search, on FLUX as ComfyUI loads it

The search of *First look* with ComfyUI's own loaders: bf16 or fp8, a GGUF loader in their place,
style LoRAs behind them. **Load Corrector** teaches the MODEL to correct, and **FLUX from MODEL,
CLIP, VAE** hands it to the search.
"""

CHANGE_NATIVE_SEARCH = """
- the **prompt** and the **seed**
- *depth*: raise it later; only the new rounds are painted
- *stop* `when passed`: ends at the first picture that is right
"""

NATIVE_KSAMPLER = """
## Correct with KSampler

No search, no verifier, and ComfyUI's own nodes all the way. Above, a draft as always. Below, the
same again from an empty latent, with a MODEL from **Load Corrector** and a positive from
**Corrector Conditioning**, which shows it the draft.

The words: your prompt in `clip_l`; in `t5xxl` your prompt, then `[Reflexion]`, then what to
change, in the imperative.
"""

CHANGE_KSAMPLER = """
- in the second text what comes after **[Reflexion]**, and the prompt before it: it says what the
picture is to show *after* the correction
- the **seed** of the second KSampler: another try
- put **Load Image** in place of the first VAE Decode for a picture of your own
"""

WHY_KSAMPLER = """
*cfg* and *denoise* stay at 1: the corrector starts from pure noise and sees the draft beside it.
At cfg 1 the negative is not used. Both KSamplers share one FLUX in memory: the corrector adds
nothing to its weights.
"""

EDIT_SEARCH = """
## Search with an editing model

FLUX.1-dev paints the drafts, and **FLUX.1 Kontext** corrects them: it is shown a picture and told
in plain words what to change. FLUX.2 or Qwen-Image-Edit will do as well, each with its own CLIP
and VAE.
"""

CHANGE_EDIT_SEARCH = """
- the **prompt** and the **seed**
- *width*: more chains, more chances
- *guidance* in Edit Model as Corrector: 2.5 for Kontext, 4 for FLUX.2
"""

IMAGE_TO_IMAGE = """
## Search with image to image

No corrector at all: a wrong picture is painted over by the model that painted it. It hears the
prompt only, so the prompt evolver says there what the picture lacks. The weakest corrector, and
what a better one has to beat.
"""

CHANGE_IMAGE_TO_IMAGE = """
- *denoise*: 0.5 keeps what is where, 0.75 keeps the mood, 1 keeps nothing
- the **prompt** and the **seed**
- *depth*: raise it later; only the new rounds are painted
"""

VLM_SEARCH = """
## Search for any prompt, with a vision-language model

The search of *native_search*, judged by a model that looks at the pictures: **checklist** takes
your prompt apart and asks each requirement of each picture, the **vlm** writer says what to
change, and the **vlm** evolver sharpens the prompt. A blind or silent model ends the search before
anything is painted.
"""

PROFILE = """
**Profile.** Address and key never stand in a workflow, only the name *mine*. Write
`user/__reflectionflow/profiles.json` in ComfyUI's folder:

    {"mine": {"base_url": "https://example.org/v1", "api_key": "…", "model": "…"}}

Any OpenAI-compatible server with a model that sees will do; `http://localhost:11434/v1` (Ollama)
needs no key. For a folder on this machine take **Vision-Language Model: local** instead.
"""

CHANGE_VLM_SEARCH = """
- the **prompt**: any
- *width*, *depth*: more chains, more rounds
- *stop* `when passed`: ends at the first picture in which all is as asked
"""

UNTESTED_VLM = """
We have not run this graph on FLUX.1-dev or with a real vision-language model yet; our tests run
it with the miniature and a scripted server.
"""

VLM_LOCAL_SEARCH = """
## Search for any prompt, on one card

One vision-language model from a folder does all three jobs: it judges, writes and rewrites. FLUX
and the model take turns on the GPU: ComfyUI moves the one out when the other needs the room. On a
card with 24 GB set *weight_dtype* of Load Diffusion Model to `fp8_e4m3fn`.
"""

UNTESTED_LOCAL = """
We have not run this graph on FLUX.1-dev or with real weights of Qwen yet; our tests run it with
the miniature and a small random Qwen2.5-VL.
"""

VLM_CLIP_SEARCH = """
## Search for any prompt, with ComfyUI's own text model

The judge, writer and rewriter is a model that ComfyUI itself loads as a text encoder. It needs a
ComfyUI that has the node *Generate Text* (0.24 is tested); an older one says so when you press
Run. Nothing but ComfyUI is in memory, so it moves the model like any other.
"""

UNTESTED_CLIP = """
We have not run this graph on FLUX.1-dev or with real weights of Qwen yet; our tests run the
miniature with a stand-in, and a small random Qwen3.5 in ComfyUI 0.24.
"""

THINK_FIRST = """
## Think first

A terse prompt, thought through before anything is painted: what is there, where it is, in which
style. Two drafts from what the model thought of, and below them two from your words alone, of the
same seed. In a search, wire **Think First** into *draft_prompt* of Search Options: the drafts are
painted from the longer text, and judged by your own words all the same.

**What to change first**

- the **prompt**; the *seed* of both samplers
- *refresh* of the endpoint: asks the model anew
"""

ENSEMBLE = """
## Several verifiers as one

Ranks the pictures of ComfyUI's folder `input/my_pictures` by three verifiers at once, each on its
own scale: the **checklist** asks for every requirement, **PickScore** knows what people like, the
**Image-Verifier** is the paper's own. The checklist is also the *gate*: it alone says what passes.
Any verifier may be left out. The same ensemble fits every search: wire it into *verifier*.

**What to change first**

- the **prompt**, and the pictures
- *weight_1* to *weight_4*: how much each verifier counts
"""

ENSEMBLE_FILES = f"""
**Files and a profile**

- a profile *mine*, as *vlm_search* explains
- [PickScore_v1](https://huggingface.co/yuvalkirstain/PickScore_v1): the whole folder, as
`models/clip_vision/{PICKSCORE}`
- [the published verifier](https://huggingface.co/diffusion-cot/Image-Verifier): the whole folder,
as `models/LLM/{REWARD}`, with its words as `template.txt` (see the node's help)
- [{REWARD_BASE}](https://huggingface.co/Qwen/{REWARD_BASE}): the whole folder, as
`models/LLM/{REWARD_BASE}`

We have not run this graph with these weights yet; our tests run it with small random ones.
"""

STAGED_SEARCH = """
## Draw in stages

**Scene Planner** takes the prompt apart: what to draw first, what to add then, and the whole scene
after each step. Every picture is inspected by its stage: what is not due yet is no fault, what is
drawn wrong or missing is mended once, and then the next stage is drawn. A chain rests when its
picture shows all of the prompt.
"""

CHANGE_STAGED_SEARCH = """
- the **prompt**; *planner*: without `strict` all is drawn at once, then what is missing
- *own_plan* of Scene Planner: the plan it shows, changed by you
- *depth*: two rounds for each stage are enough
"""

STAGED_BY_HAND = """
## Draw in stages, wired by hand

**Scene Planner** plans, **Draft Sampler** paints the first stage. **Stage Inspector** compares the
pictures with it and says what is next: to mend them or, if they are accepted, to draw the next
stage. **Corrector Sampler** does so, and the next Stage Inspector takes `next_stage` from the one
before. Put anything in between.

**What to change first**

- the **prompt**, and the seeds
- *own_plan*: a plan of your own
"""

INTERLEAVED = """
## Think, paint, look, repaint

**Think First** works the prompt out before anything is painted, the drafts are painted from that,
the writer says what is wrong (a vision-language model also what is merely crude), and each picture
is repainted once. A repaint that scores lower is not taken.
"""

CHANGE_INTERLEAVED = """
- the **prompt** and the **seed**
- *depth*: more than one repaint seldom pays
- *stop* `when passed`: repaints nothing if a draft is right
"""

IN_CONTEXT = """
## Reflect in context

The search of *full_search*, in which writer and evolver also see what was tried before in a chain
and what came of it: up to three earlier pictures, no two with the same faults. Correctors that look
at several pictures, such as Edit Model as Corrector, get them too.
"""

CHANGE_IN_CONTEXT = """
- the **prompt** and the **seed**
- *context* in Search Options: how many earlier pictures; 0 is plain reflection
- *depth*: long chains have more to learn from
"""

UNTESTED_EDITOR = """
We have not run this graph on FLUX.1-dev and Kontext yet; our tests run it with the miniature in
both places, which shows that it runs and not how well it edits.
"""

HUB = "https://huggingface.co"
ENCODERS_REPO = f"{HUB}/comfyanonymous/flux_text_encoders"
FLUX_REPO = f"{HUB}/Comfy-Org/flux1-dev"
KONTEXT_REPO = f"{HUB}/Comfy-Org/flux1-kontext-dev_ComfyUI"
VAE_REPO = f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged"
LICENCE = f"[FLUX.1-dev]({HUB}/black-forest-labs/FLUX.1-dev)"

QWEN_CLIP_REPO = f"{HUB}/Comfy-Org/Qwen3.5"
QWEN_FILES = f"""
**The model.** [{QWEN}]({HUB}/Qwen/{QWEN}): the whole folder, as `models/LLM/{QWEN}`. It is 16.6 GB
in bf16.
"""
QWEN_CLIP_FILES = f"""
**The model.** [Qwen3.5, for ComfyUI]({QWEN_CLIP_REPO}): `{QWEN_CLIP}`, into
`models/text_encoders`
"""

NATIVE_FILES = f"""
**Files.** Accept the licence of {LICENCE} first.

- [FLUX.1-dev, for ComfyUI]({FLUX_REPO}): `{FLUX}`, into `models/diffusion_models`
- [its text encoders]({ENCODERS_REPO}): `{CLIP_L}` and `{T5}`, into `models/text_encoders`
- [its VAE]({VAE_REPO}): `{VAE}`, into `models/vae`
"""
NATIVE_CORRECTOR_FILES = f"""{NATIVE_FILES.rstrip()}
- [the published corrector]({HUB}/diffusion-cot/FLUX-Corrector): `{CORRECTOR}`, into
`models/loras`
"""
KONTEXT_FILES = f"""{NATIVE_FILES.rstrip()}
- [FLUX.1 Kontext]({KONTEXT_REPO}): `{KONTEXT}`, into `models/diffusion_models`; it has
[a licence of its own]({HUB}/black-forest-labs/FLUX.1-Kontext-dev)
"""


def text(*parts: str) -> str:
    """The parts as one note, their lines unwrapped."""
    whole = "\n\n".join(part.strip() for part in parts)
    return re.sub(r"(?<!\n)\n(?!\n|- )", " ", whole) + "\n"
