"""From words on the command line to checked, plain values.

`folders` and `help` read text only, so that help answers at once; `compose` is where Hydra starts;
`check` finds every problem before anything heavy is imported; `run` calls the verb.
"""
