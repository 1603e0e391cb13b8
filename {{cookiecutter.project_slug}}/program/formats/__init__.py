"""One module a media type: files and bodies to arrays, arrays to bodies."""
