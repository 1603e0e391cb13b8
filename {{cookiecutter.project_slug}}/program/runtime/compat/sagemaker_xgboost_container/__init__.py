"""What programs for the built-in container import under this name, over this project's runtime.

In framework mode alone it is on the import path. Nothing here may import settings, features or
custom: a program may have files of these names.
"""
