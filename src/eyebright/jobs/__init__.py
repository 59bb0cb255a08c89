"""The jobs that a user asks for by name: train, resume, predict, evaluate, verify. Each ties the layers below together."""
