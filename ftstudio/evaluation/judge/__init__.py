"""A model as judge of two answers: what it is asked, what it said, and how far it can be believed.

asking.py   the rubric, the question with both answers, the verdict in a reply
tally.py    both orders of every row made one verdict; biases, win rates, agreement with people
"""
