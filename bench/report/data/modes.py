# SPDX-License-Identifier: GPL-2.0
"""Ways of tracking dirty pages: the baselines, and the pool under a policy.  A
mode is called POLICY or POLICY+FLAG."""

BASELINES = ("bitmap", "per-vcpu")
# The policies that are built in, in the order in which they are shown.  Others
# come after these.
POLICIES = ("round-robin", "lru", "last-used", "emptiest")
# The kernel's default
DEFAULT = "emptiest"
NOSTOP = DEFAULT + "+nostop"


def is_pool(mode):
    return mode not in BASELINES


def label(mode):
    """How a mode is called where a reader sees it."""
    base, *flags = mode.split("+")
    text = {"bitmap": "bitmap", "per-vcpu": "per-vCPU rings"}.get(base, f"pool {base}")
    for flag in flags:
        text += ", NOSTOP" if flag == "nostop" else (
            f", {flag} thread{'s' if flag != '1' else ''}")
    return text


def names(entries):
    """The modes of these entries: baselines, then policies, then those with flags."""
    known = BASELINES + POLICIES

    def rank(name):
        base = name.split("+")[0]
        return ("+" in name, known.index(base) if base in known else len(known), name)
    return sorted({e["mode"] for e in entries}, key=rank)
