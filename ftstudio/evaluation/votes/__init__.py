"""Blind votes of people on two arms: who voted what, when to stop, what came of it, which metric agrees.

evalue.py   a test that may be looked at after every vote      ballot.py   sides and order, from a hidden seed
book.py     votes.jsonl: every vote, kept by line              tally.py    wins, win rate, verdict, agreement
"""
