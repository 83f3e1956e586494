"The bundled models are what their cards say"
import json
from pathlib import Path
import pytest
from ded.base import RECIPES
from ded.cards import check_card, read_card
from ded.study import BUNDLED, ROLES

LINES = ["hard", "broad", "choice", "code-easy", "chinese", "sum"]

@pytest.mark.parametrize("name", ROLES)
def test_card_holds(name): assert check_card(BUNDLED/name, LINES)==[]

@pytest.mark.parametrize("name", ROLES)
def test_recipe_is_the_one_in_the_code(name):
    card, recipe = read_card(BUNDLED/name), RECIPES[name]
    assert card["recipe"]["parent"]==recipe.parent and card["recipe"]["tokens"]==recipe.tokens and [tuple(h) for h in card["recipe"]["habits"]]==list(recipe.habits)

def test_models_are_small():
    assert sum(f.stat().st_size for f in BUNDLED.rglob("*") if f.is_file()) < 25e6
    assert all(read_card(BUNDLED/n)["parameters"] <= 1_000_000 for n in ROLES)
