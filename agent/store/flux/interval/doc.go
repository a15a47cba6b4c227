package interval
