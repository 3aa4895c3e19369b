"""Adapters of `ports.Embedder`: a local ONNX model, any `/v1/embeddings` server, and a fake."""
