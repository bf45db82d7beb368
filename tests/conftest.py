"""For all of the project's own tests."""

from hypothesis import settings

# A law holds or it does not, however busy the machine is; speed lives in bench/.
settings.register_profile("drill", deadline=None)
settings.load_profile("drill")
