"""Which way of giving a model its symmetry pays, measured on the user's own data."""

from equilearn.advisor._advise import Advice, Recommendation, advise, advise_task
from equilearn.advisor._candidates import Candidate, candidates, register_candidate
from equilearn.advisor._prediction import prediction_of
from equilearn.advisor._summary import summarize
from equilearn.advisor._symmetry import symmetry_from_names

__all__ = [
    "Advice",
    "Candidate",
    "Recommendation",
    "advise",
    "advise_task",
    "candidates",
    "prediction_of",
    "register_candidate",
    "summarize",
    "symmetry_from_names",
]
