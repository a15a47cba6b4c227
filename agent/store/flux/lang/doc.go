package lang
