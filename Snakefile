# The graph of the chapters. A chapter is stale when its notebook, its parameters, the code it reaches or a record
# before it changed. `make reproduce` is the local case; executor plugins (SLURM, Kubernetes) take the same file.
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from lib import paths, run

PROFILE = config.get("profile", "laptop")


rule all:
    input:
        [run.record(PROFILE, chapter) for chapter in run.chapters()],


for chapter in run.chapters():

    rule:
        name:
            chapter
        input:
            run.inputs(PROFILE, chapter),
        output:
            run.record(PROFILE, chapter),
        threads: workflow.cores or 1
        params:
            root=shlex.quote(workflow.basedir),
            python=shlex.quote(sys.executable),
            chapter=chapter,
            profile=PROFILE,
        shell:
            "cd {params.root} && exec {params.python} -m lib.run {params.chapter} --profile {params.profile} --child"


onstart:
    reasons = {job.rule.name: run.why(workflow.dag.reason(job)) for job in workflow.dag.needrun_jobs()}
    run.announce(PROFILE, {chapter: reasons[chapter] for chapter in run.chapters() if chapter in reasons})
