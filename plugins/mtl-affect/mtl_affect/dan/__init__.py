"""DAN, the distract-your-attention network: a backbone with attention heads, and the losses of its method."""
