"""From a request to edited keyframes: what was asked for, which frames, and the editors."""
