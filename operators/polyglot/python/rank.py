"""The third stage: the three words that came most often, those that came equally often by the alphabet."""

from marionette import operator


@operator("RankWords")
def rank(request):
    return sorted(request.items, key=lambda item: (-int(item.text), item.key))[:3]
