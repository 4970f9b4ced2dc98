"""torchmetrics of lip-sync: what the mouth does and how clean the picture is."""
