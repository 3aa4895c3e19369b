"""Budgets kept by each process from slices that it leases; docs/budgets.md tells how.

leased.py     LeasedLedger: reserve, join, settle
known.py      the budgets of each tenant, remembered for a second
accounts.py   which budgets a spender obeys
slices.py     what this process may spend of an account, and how much of it to ask for
leasing.py    one call at a time for more
books.py      the book that is reserved in, and those before it
book.py       slices and reservations under one name, and what is reported of them
journal.py    the file that outlives the process
recovery.py   what a dead process's journal still has to say
upkeep.py     reporting, refreshing, recovering, in the background
refusal.py    the words for a budget that is spent
usage_rows.py what was used, summed up
counting.py   UsageLedger, which refuses nothing
"""

from ragstone.governance.ledger.books import LedgerSettings
from ragstone.governance.ledger.counting import UsageLedger
from ragstone.governance.ledger.leased import LeasedLedger
from ragstone.governance.ledger.upkeep import Upkeep

__all__ = ["LeasedLedger", "LedgerSettings", "Upkeep", "UsageLedger"]
