"""``headrace tune``: how a model is served best on this machine, measured and not guessed.

Asked: ``grammar`` the flags · ``wanted`` what they mean · ``once`` a tuning from end to end ·
``model`` which model it is · ``budget`` the time of each step · ``progress`` what is told meanwhile
· ``journal`` what is known from another start · ``job`` what every step is given.

The way, in ``search``: ``space`` what there is to choose from · ``labs`` what is found out of it:
``profile`` every variant measured on a ``bench``, in a ``lab`` of its own, a ``lab_process`` to us,
told in ``messages`` · ``measured`` what came of it · ``answers`` what each answers to
samples, which are ``data``, from ``files`` too, and ``gate`` judges by ``nearness`` (sample by
sample where they are ``ragged``) and, with labels, by a ``drop`` · ``mixing`` how many layers must
be in f32 for the rest to pass in bf16 · ``forecast`` what each candidate would do on the server's
own scheduler, and ``linger`` whether batches might wait for more · ``halving`` who is raced how
long, and who wins · ``race`` real servers under real load, each a ``contestant`` · ``receivers``
whether several would do more · ``raced`` what came of it.

Told: ``result`` all of it · ``reasons`` why, in sentences · ``document`` as JSON · ``show`` as a
table · ``page`` with drawings · ``card`` what ``headrace serve`` takes from it.
"""
