"""What several families of nodes share: sockets, inputs, model files, batches, progress, runs."""
