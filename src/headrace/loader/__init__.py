"""The way of a model, from a path to a version that serves.

::

    places.locate      a path becomes versions: files, folders, names, numbers
    store.find         those to serve, each with its settings
    tuned_card         what `headrace tune` found out for it, taken where it holds
    stamps.stamp       when the files of a version change
    tokenizers         copies of those that its card names, as they were when it was loaded
    card.read_said     what the model says of itself, laid under what the operator says
    lifecycle          which moves a version may make (pure); the keeper asks before each
    fleet              the engines of all versions: one is started, replaced, retired
    crew               what stands for a version: made, run, waited for, ended
    heard              what receivers say of engines
    several            what several receivers cannot do (pure)
    news               wakes who waits for something to have changed
    residents          the models in memory: room is made for the next
    residency          who leaves for it (pure)
    roster             the versions there are, and what has been told and heard of each
    told               what receivers have been told of them, for the next receiver
    orders             what clients order over the wire: load, unload, label, reload
    uploads            files that clients have sent with orders, as long as they are needed
    first              what is served first; what lies elsewhere comes later
    rehearsal          what would be served, found without a server
    remote             models in object stores and on web servers, as folders of this machine
    watch              follows what changes where models lie (model_control: poll)
    aside              calls that may hang, in threads that nobody waits for at the end
    regular            whether a file can be read to its end
    settled            what of it to load and unload, and when (pure)
    shadow             what a new version must agree with: requests of the one that serves
    placement          which cores a model keeps to (pure), of what the allotment has left
    allotment          who has which cores
    specification      what an engine is told before it begins
    keeper             one engine process a version: start, load, warm, watch, restart, stop
    nursery            that process is forked, at once, from one that has imported already
    engine_process     it is started, told, heard, ended
    forked             the same of one that was forked
    post               one engine's place in the fleet
    memory             what the engines have in memory, told as it changes
"""
