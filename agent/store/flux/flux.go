package flux
