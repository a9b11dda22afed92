"""The workflows as data, and the two formats that ComfyUI reads; see ../make.py."""
