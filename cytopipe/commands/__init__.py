"""The commands of ``cytopipe`` that belong to no domain; `cytopipe.cli.COMMANDS` names each of them."""
