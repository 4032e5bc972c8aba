"""Files become tensors: images, audio and text, as a model's card describes.

Plain functions from bytes to numpy arrays, for threads. Their libraries are optional and imported
when a card needs them.

::

    medium      what a card accepts, checked against the signature: one reader an entry
    image       an image file to numbers                    headrace[image]
    envelope    the parts of an image file, before it is opened
    audio       a sound file to samples                     headrace[audio]
    resample    samples at another rate
    incomplete  whether all of a sound file is there
    text        text to tokens, or to BYTES                 headrace[text]
    libraries   the optional ones, and what to install for each
"""

from headrace.media.medium import Medium, build, check_libraries

__all__ = ["Medium", "build", "check_libraries"]
