package execute
