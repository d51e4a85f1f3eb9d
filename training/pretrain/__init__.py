"""The bundled checkpoints: small timm networks, pretrained from scratch on permissively licensed images."""
