"""What the package offers: a few verbs, each of which checks its arguments, hands them on, and returns one object.

A search, for example::

    run = qnas.search("w4a4", max_params=50_000, data="digits")
    winner = run.winner                      # a module, and an object with genotype, costs and accuracies
    pandas.DataFrame(run.rows)               # every network that was looked at

Every verb is also a command, with the same arguments as options. All of them raise ``QnasError`` for what the caller
can mend: the message states the rule, the value received and the next step. ``progress`` is called with the name of a
stage, the share of it that is done, from 0 to 1, and a remark, by another thread where one process does long work;
what else there is to say goes to the logger ``qnas``.
"""
