"""``headrace plan``: what a model can do within its objective, from what its server measured.

Asked: ``grammar`` the flags · ``once`` a plan from end to end · ``question`` what is to be planned
· ``profile`` what the server measured, of a URL or a file, with what it has ``seen`` run.

Planned: ``machine`` lanes, run times, the receiver and the cores they share · ``play`` a rate on
the server's own scheduler · ``limit`` the highest rate, the fewest lanes · ``make`` the plan ·
``pace`` how fast the machine is from moment to moment · ``sizes`` how long runs of each size are
beside those of others · ``chance`` how unlike what requests take besides is · ``scaling`` what
instances cost each other · ``laws`` closed forms of queueing, for the explanation · ``estimate``
means and their bounds · ``reasons`` why, in sentences.

Measured: ``target`` where and what to send · ``rig`` a server that is driven · ``calibration`` what
short loads tell of a machine · ``measure`` real loads, in turns with those · ``others`` who use the
machine meanwhile · ``compare`` what was predicted with what came.

Told: ``document`` as JSON · ``show`` as tables · ``page`` with drawings.
"""
