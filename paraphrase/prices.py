"""What calls cost, and how amounts of money and time are written."""

from __future__ import annotations

# OpenAI's models: dollars per million tokens in and out, and the announced end (developers.openai.com).
PRICES_OF = "2026-11-23"
PRICES = {
    "gpt-6-luna": (0.10, 0.50, None),
    "gpt-5.6-luna": (0.20, 1.20, None),
    "gpt-5-nano": (0.05, 0.40, "2026-12-11"),
    "gpt-4o-mini": (0.15, 0.60, "2027-01-14"),
}
BATCH_DISCOUNT = 0.5

Price = tuple[float, float]  # dollars per million tokens in and out


def listed_price(model: str) -> Price | None:
    """Return what one of OpenAI's models costs; None where it isn't known."""
    return PRICES[model][:2] if model in PRICES else None


def cost_of(tokens_in: float, tokens_out: float, price: Price) -> float:
    """Return dollars."""
    return (tokens_in * price[0] + tokens_out * price[1]) / 1e6


def money(dollars_known: float, unpriced: int) -> str:
    """Return what replies cost: the dollars, and how many replies have no known price."""
    if unpriced == 0:
        return dollars(dollars_known)
    unknown = f"{unpriced:,} replies of unknown price"
    return f"{dollars(dollars_known)} and {unknown}" if dollars_known else "price unknown"


def dollars(amount: float) -> str:
    """Return an amount to read; below ten cents, with hundredths of a cent."""
    return f"${amount:.4f}" if amount < 0.1 else f"${amount:,.2f}"


def clock(seconds: float) -> str:
    """Return a duration to read: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
