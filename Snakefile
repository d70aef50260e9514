# The graph of the chapters. `lib.engine.run` names those that are stale. `make reproduce` is the local case; executor
# plugins (SLURM, Kubernetes) take the same file.
# With `--config sweep=<plan>` it is the graph of a sweep's cells instead: lib/engine/sweep.py writes the plan.
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from lib.engine import paths, run

if "sweep" in config:
    PLAN = json.loads(Path(config["sweep"]).read_text(encoding="utf8"))

    rule cells:
        input:
            [f"{PLAN['folder']}/{cell}/{PLAN['record']}" for cell in PLAN["waiting"]],

    rule cell:
        wildcard_constraints:
            cell="[0-9a-f]+",
        output:
            f"{PLAN['folder']}/{{cell}}/{PLAN['record']}",
        log:
            f"{PLAN['folder']}/{{cell}}/log.txt",
        threads: PLAN["cores"]
        resources:
            **PLAN["resources"],
        retries: 1
        params:
            root=shlex.quote(str(paths.ROOT)),
            python=shlex.quote(sys.executable),
            folder=shlex.quote(PLAN["folder"]),
        shell:
            "export PYTHONPATH={params.root}${{PYTHONPATH:+:$PYTHONPATH}};"
            " exec {params.python} -m lib.engine.forks lib.engine.sweep --cell {params.folder}/{wildcards.cell} --record {output:q} --child"
            " > {log:q} 2>&1"

else:
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
            priority: 100 - int(chapter[:2])  # in the order of a reader
            threads: 1 if PROFILE in run.SIDE_BY_SIDE and chapter not in run.COLLECTING else workflow.cores or 1
            params:
                root=shlex.quote(workflow.basedir),
                python=shlex.quote(sys.executable),
                chapter=chapter,
                profile=PROFILE,
            shell:
                "cd {params.root} && exec {params.python} -m lib.engine.forks lib.engine.run {params.chapter} --profile {params.profile} --child"
