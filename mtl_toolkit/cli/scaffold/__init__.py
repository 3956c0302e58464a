"""What `mtl plugin new` writes: names, licences, templates, and a folder that is whole or not there."""
