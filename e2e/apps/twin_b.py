def spin(clock, until):
    while clock() < until:
        pass
