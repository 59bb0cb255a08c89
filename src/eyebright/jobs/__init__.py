"""The jobs that a user asks for by name, such as train and predict: each ties the layers below together."""
