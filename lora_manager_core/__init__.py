"""The host-free core of the LoRA manager; importing it loads no torch, Gradio or SD.Next."""

__version__ = "0.1.0"
