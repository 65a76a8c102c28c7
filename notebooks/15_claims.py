# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   language_info:
#     name: python
# ---

# %% [markdown]
# # The claims
#
# **What the paper says** (throughout). It makes fourteen claims that can be measured. Its text says four more things
# of its simulations, which are held against the code that was released with it. The paper states that its exact
# codebase is not public, so that code need not be the one that made its figures. [](../book/paper_map.md) numbers the
# claims C1 to C14; the four are R1 to R4.
#
# **What is measured here.** Nothing anew: this page reads the committed study and what the other chapters
# wrote, and judges it by the rules of `misr4d.companion.claims`. The verdict on a claim is one on the paper's network
# *as it could be trained here*, which the next cell describes. Beside it are the {term}`informed network` and
# {term}`direct ptychography`, which learns nothing. {term}`Ptychography <ptychography>`, the rival in most
# claims, is the best that was measured: py4DSTEM's, which is the paper's program, tuned on other specimens,
# or one of today's strongest.
#
# **How long it takes.** Seconds, once the chapters have run.

# %% tags=["parameters"]
upsampling: int = 3  # r, the refinement of the scan grid; paper §2.1.1

# %% tags=["remove-cell"]
from misr4d.companion.parameters import check_parameters

check_parameters(globals())

from IPython.display import Markdown

# %%
from misr4d import MOLECULAR
from misr4d.companion import figures
from misr4d.companion.bench import read_study
from misr4d.companion.chapters import claims_page as page
from misr4d.companion.claims import judge_claims, read_results
from misr4d.companion.verdicts import what_changed

study = read_study()
claims = judge_claims(read_results(figures.output_folder()), study, MOLECULAR, upsampling)

# %% tags=["remove-input"]
Markdown(page.trained_here(study))

# %% [markdown]
# ## At a glance

# %% tags=["remove-input"]
Markdown(page.at_a_glance(claims))

# %% [markdown]
# ## One by one
#
# Numbers are medians; in brackets the quartiles of eight {term}`draws <draw>` or more, the least and the largest of fewer,
# and n, the number of draws. At infinite dose there is no noise to draw, and n is 1.
#
# To measure again: `.venv/bin/papermill notebooks/NAME.ipynb out.ipynb` runs a chapter, and
# `.venv/bin/misr4d bench --study` the study. This page reads what all chapters wrote, so it runs after `make figures`:
#
# ```console
# $ MISR4D_OUTPUT=_build/ci .venv/bin/papermill notebooks/15_claims.ipynb out.ipynb
# ```

# %% tags=["remove-input"]
Markdown(page.one_by_one(claims))

# %% [markdown]
# (verdicts-changed)=
# ## What changed
#
# Two readings of an earlier state of this book found that several verdicts rested on measures that cannot
# carry them. *Before* is what the page said then, *now* what it says by the rules above; new verdicts are
# bold. The last column says what changed in the judging, also where the verdict did not.

# %% tags=["remove-input"]
Markdown(what_changed(claims))

# %% tags=["remove-cell"]
figures.save_results("15_claims", page.record(claims))

# %% [markdown]
# ## What was seen

# %% tags=["remove-input"]
Markdown(page.seen(claims))

# %% [markdown]
# **Exercise.** Choose another threshold, such as `SEEN` in `misr4d.companion.verdicts` or `NEAR` in `misr4d.companion.chapter_claims`, and run this page
# again. Which verdicts depend on it?
#
# ```{dropdown} Solution
# `SEEN` can change every claim that asks for an image, since it says from where on one shows something;
# `KEPT` C14, `NEAR` C11, `TOLD` C8 and C11, `LEVEL` C5, `LATTICE` C1 and `SHELL` C4. The paper defines none
# of these words. C2 and C3 have its own numbers, C6 compares with ptychography alone, and C12 and R1 to R4
# rest on arithmetic.
# ```
