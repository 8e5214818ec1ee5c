"""A shop that never was: retail lines that behave like real ones, the same for the same seed.

Every day stands alone. Who shops on a day is computed from the customer's own nature and from
random numbers of that day only, never from what happened before, so a day has the same bytes
whether or not others are made, and a stretch of any length needs the memory of one day.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from deliveries.faults import Faults
from lake import replacing
from params import Source

# The world's first day; ages and rhythms are counted from here.
ORIGIN = date(2000, 1, 1)

# After this many days a new customer takes a customer's place, so the shop never runs empty.
PLACE_DAYS = 900
LIFETIME_MEAN_DAYS = 1100

PURCHASES_MEAN_A_DAY = 0.05
# Gamma: most customers come a few times a year, some every week.
PURCHASES_SHAPE = 0.8
# Others come by the calendar, each with a period of their own (log-normal).
RHYTHMIC_SHARE = 0.65
PERIOD_MEDIAN_DAYS = 38
PERIOD_SPREAD = 0.75
SEASONAL_SHARE = 0.12
# The share of the visits due in a customer's rhythm that happen in an average month.
RHYTHM_KEPT = 0.85
GUEST_SHARE = 0.1

WEEKDAYS = np.array([1.1, 1.15, 1.1, 1.2, 1.05, 0.7, 0.5])
MONTHS = np.array([0.88, 0.88, 0.94, 0.96, 1.0, 0.97, 0.93, 0.92, 1.03, 1.12, 1.28, 1.35])
# In minutes of the day; orders after midnight show whether days are cut in the right zone. The
# hour in which clocks change is left out, for no one could tell its two halves apart.
HOURS = np.array([2, 0, 0, 0, 0, 1, 2, 4, 7, 10, 12, 13, 12, 11, 11, 10, 9, 8, 7, 7, 8, 7, 5, 3])

COUNTRIES = np.array(
    [
        "United Kingdom",
        "Germany",
        "France",
        "EIRE",
        "Spain",
        "Netherlands",
        "Belgium",
        "Switzerland",
        "Portugal",
        "Australia",
    ]
)
COUNTRY_SHARES = np.array([0.8, 0.05, 0.045, 0.03, 0.02, 0.015, 0.012, 0.012, 0.01, 0.006])
# How often they come, against the average.
COUNTRY_PACE = np.array([1.0, 1.1, 1.05, 1.3, 0.7, 1.2, 0.9, 0.8, 0.7, 0.5])

PRODUCTS = 2400
PACKS = np.array([1, 2, 3, 4, 6, 10, 12, 24, 48])
PACK_SHARES = np.array([0.3, 0.16, 0.1, 0.1, 0.14, 0.05, 0.1, 0.04, 0.01])
LARGEST_BASKET = 60

SERVICES = np.array(["POST", "BANK CHARGES", "GIFT_20"])

# Natural dirt, in shares of the lines: what a till and a network do on a good day.
DUPLICATE_SHARE = 0.004
NULL_SHARE = 0.002
ABSURD_SHARE = 0.001
ABSURD_QUANTITY = 999_999


@dataclass(frozen=True, slots=True)
class Customers:
    """The nature of customers, one value each; ``joined_on`` and the like in days of the world."""

    id: np.ndarray
    joined_on: np.ndarray
    lifetime_days: np.ndarray
    pace: np.ndarray
    reversed_pace: np.ndarray
    is_rhythmic: np.ndarray
    phase: np.ndarray
    is_seasonal: np.ndarray
    high_season: np.ndarray
    growth: np.ndarray
    basket_mean: np.ndarray
    pack_factor: np.ndarray
    return_share: np.ndarray
    country: np.ndarray


class Shop:
    """A shop with places for ``customers``; about half are taken by someone still buying.

    Args:
        customers: Places for customers at any one time.
        seed: Another seed is another shop.
        source: Names the columns and gives the format of the deliveries.
        faults: What shall be wrong, and when.
    """

    def __init__(
        self, customers: int, seed: int, source: Source, faults: Faults | None = None
    ) -> None:
        self._places = customers
        self._seed = seed
        self._source = source
        self._faults = faults or Faults()
        self._generation = lru_cache(maxsize=2)(self._make_generation)

        rng = np.random.default_rng([seed, 0])
        popularity = 1 / np.arange(1, PRODUCTS + 1) ** 0.7
        self._popularity = np.cumsum(rng.permutation(popularity / popularity.sum()))
        self._pence = np.maximum(19, np.round(100 * rng.lognormal(0.8, 0.9, PRODUCTS))).astype(int)
        numbers = rng.permutation(np.arange(20_000, 20_000 + 7 * PRODUCTS, 7))
        letters = rng.choice(np.array(["", "", "", "A", "B"]), PRODUCTS)
        self._products = pa.array(np.char.add(numbers.astype(str), letters))

    def write_delivery(self, day: date, folder: Path) -> int | None:
        """Put that day's delivery into ``folder``, whole or not at all.

        Returns:
            The rows written, before the file was damaged on purpose; None if there shall be no
            delivery.
        """
        if self._faults.share("no_delivery", day):
            return None
        table = self.delivery(day)
        with replacing(folder) as fresh:
            fresh.mkdir()
            path = fresh / f"part-0.{self._source.format}"
            if self._source.format == "csv":
                pyarrow.csv.write_csv(table, path)
            else:
                pq.write_table(table, path)
            if self._faults.share("corrupt_file", day):
                content = path.read_bytes()
                path.write_bytes(content[: len(content) // 2])
        return table.num_rows

    def delivery(self, day: date) -> pa.Table:
        """The rows of that day's delivery in the source's columns, in the order of the till."""
        rows = self._kept_rows(day, late=False)
        yesterday = day - timedelta(days=1)
        if self._faults.share("late_rows", yesterday):
            rows = pa.concat_tables([rows, self._kept_rows(yesterday, late=True)])
        if self._faults.share("empty_day", day):
            rows = rows.slice(0, 0)
        rows = rows.rename_columns(self._source.columns.given)
        return self._break_columns(rows, day)

    # --- who shops -----------------------------------------------------------------------------

    def _make_generation(self, generation: int) -> Customers:
        rng = np.random.default_rng([self._seed, 1, generation])
        places = np.arange(self._places)
        country = rng.choice(len(COUNTRIES), self._places, p=COUNTRY_SHARES)
        gamma = rng.gamma(PURCHASES_SHAPE, PURCHASES_MEAN_A_DAY / PURCHASES_SHAPE, self._places)
        period = rng.lognormal(np.log(PERIOD_MEDIAN_DAYS), PERIOD_SPREAD, self._places)
        is_rhythmic = rng.random(self._places) < RHYTHMIC_SHARE
        pace = np.clip(np.where(is_rhythmic, 1 / period, gamma) * COUNTRY_PACE[country], 0.006, 0.4)
        rank = np.argsort(np.argsort(pace))
        return_share = rng.beta(0.5, 12, self._places)
        # Who sends much back does not stay.
        lifetime = rng.exponential(LIFETIME_MEAN_DAYS * np.exp(-8 * return_share))
        return Customers(
            id=10_000 + generation * self._places + places,
            joined_on=generation * PLACE_DAYS + places * PLACE_DAYS // self._places,
            lifetime_days=lifetime,
            pace=pace,
            reversed_pace=np.sort(pace)[::-1][rank],
            is_rhythmic=is_rhythmic,
            phase=rng.random(self._places),
            is_seasonal=rng.random(self._places) < SEASONAL_SHARE,
            # Days of the year: Christmas, Easter, summer.
            high_season=rng.choice([340, 90, 190], self._places, p=[0.6, 0.2, 0.2]),
            growth=np.clip(rng.normal(0, 0.7, self._places), -1.5, 1.5),
            basket_mean=1 + rng.gamma(2.0, 2.2, self._places),
            pack_factor=np.maximum(1, np.round(rng.lognormal(0, 0.8, self._places))),
            return_share=return_share,
            country=country,
        )

    def _customers(self, day: int) -> Customers:
        """Whoever holds each place on that day; places change hands one after the other."""
        generation, days_in = divmod(day, PLACE_DAYS)
        changed = -(-(days_in + 1) * self._places // PLACE_DAYS)
        new, old = self._generation(generation), self._generation(generation - 1)
        return Customers(
            *(
                np.concatenate(
                    [getattr(new, field.name)[:changed], getattr(old, field.name)[changed:]]
                )
                for field in fields(Customers)
            )
        )

    def _shoppers(self, customers: Customers, day: date) -> np.ndarray:
        """The places whose customers buy on that day, sorted."""
        rng = np.random.default_rng([self._seed, 2, day.toordinal()])
        world_day = (day - ORIGIN).days
        age = world_day - customers.joined_on
        is_here = (age >= 0) & (age < customers.lifetime_days)

        reversed_share = self._faults.share("concept", day)
        pace = customers.pace
        if reversed_share:
            is_reversed = customers.phase < reversed_share
            pace = np.where(is_reversed, customers.reversed_pace, pace)

        year_day = day.timetuple().tm_yday
        distance = np.abs((year_day - customers.high_season + 182) % 365 - 182)
        own_season = np.where(distance < 35, 3.0, 0.3)
        trend = np.exp(customers.growth * np.clip(age - 150, -150, 450) / 365)
        season = MONTHS[day.month - 1]

        by_chance = pace * trend * season * WEEKDAYS[day.weekday()]
        by_chance = np.where(customers.is_seasonal, by_chance * own_season, by_chance)
        comes_by_chance = rng.random(self._places) < -np.expm1(-by_chance)

        is_due = self._is_due(customers, pace, world_day)
        kept = RHYTHM_KEPT * min(1.15, season) * np.minimum(1, trend)
        comes_in_rhythm = is_due & (rng.random(self._places) < kept)

        comes = np.where(
            customers.is_rhythmic & ~customers.is_seasonal, comes_in_rhythm, comes_by_chance
        )
        return np.flatnonzero(is_here & comes)

    def _is_due(self, customers: Customers, pace: np.ndarray, world_day: int) -> np.ndarray:
        """Whose next visit falls on that day: one every ``1 / pace`` days, give or take a tenth."""
        period = 1 / pace
        turn = np.floor(world_day / period - customers.phase)
        is_due = np.zeros(len(period), dtype=bool)
        for step in (-1, 0, 1):
            spread = 0.3 * (_uniform(self._seed, customers.id, turn + step) - 0.5)
            visit = np.floor((turn + step + customers.phase + spread) * period)
            is_due |= visit == world_day
        return is_due

    # --- what they buy -------------------------------------------------------------------------

    def _rows(self, day: date) -> pa.Table:
        """Everything that is rung up on that day, clean, under our own names."""
        customers = self._customers((day - ORIGIN).days)
        buyers = self._shoppers(customers, day)
        rng = np.random.default_rng([self._seed, 3, day.toordinal()])

        returners = buyers[rng.random(len(buyers)) < customers.return_share[buyers]]
        guests = rng.poisson(len(buyers) * GUEST_SHARE / (1 - GUEST_SHARE))
        # A guest is shown the till as customer -1, one of average habits.
        place = np.concatenate([buyers, returners, np.full(guests, -1)])
        is_guest = place < 0
        is_return = np.zeros(len(place), dtype=bool)
        is_return[len(buyers) : len(buyers) + len(returners)] = True
        guest_country = rng.choice(len(COUNTRIES), len(place), p=COUNTRY_SHARES)
        country = np.where(is_guest, guest_country, customers.country[place])
        basket_mean = np.where(is_guest, 5.0, customers.basket_mean[place])
        pack_factor = np.where(is_guest, 1.0, customers.pack_factor[place])
        minute = rng.choice(24, len(place), p=HOURS / HOURS.sum()) * 60 + rng.integers(
            0, 60, len(place)
        )

        baskets = np.minimum(LARGEST_BASKET, rng.geometric(1 / basket_mean))
        baskets = np.where(is_return, np.minimum(baskets, 2), baskets)
        invoice = np.repeat(np.arange(len(place)), baskets)
        product = np.searchsorted(self._popularity, rng.random(len(invoice)))
        # A till adds up; it does not print one product twice.
        _, first = np.unique(invoice * PRODUCTS + product, return_index=True)
        invoice, product = invoice[first], product[first]
        packs = rng.choice(PACKS, len(invoice), p=PACK_SHARES)
        quantity = (packs * pack_factor[invoice]).astype(np.int64)
        pence = self._pence[product]
        # Nobody pays less than a penny, and by the two dozen it is a tenth off.
        pence = np.where(quantity >= 24, np.maximum(1, pence * 9 // 10), pence)

        has_service = ~is_return & (rng.random(len(place)) < np.where(country == 0, 0.03, 0.4))
        service_invoice = np.flatnonzero(has_service)
        service = rng.choice(len(SERVICES), len(service_invoice), p=[0.94, 0.03, 0.03])

        share_up = self._faults.share("shifted", day)
        if share_up:
            is_shifted = rng.random(len(invoice)) < share_up
            quantity = np.where(is_shifted, quantity * 3, quantity)
            pence = np.where(is_shifted, pence * 3 // 2, pence)

        quantity = np.where(is_return[invoice], -quantity, quantity)
        invoice = np.concatenate([invoice, service_invoice])
        quantity = np.concatenate([quantity, np.ones(len(service), dtype=np.int64)])
        pence = np.concatenate([pence, np.array([1800, 1500, 2000])[service]])
        products = pa.concat_arrays([self._products.take(product), pa.array(SERVICES[service])])

        # In the order of the till: by minute, then by invoice, whose numbers follow the minutes.
        by_minute = np.argsort(minute, kind="stable")
        number = np.empty(len(place), dtype=np.int64)
        number[by_minute] = np.arange(len(place))
        order = np.argsort(number[invoice], kind="stable")
        invoice, quantity, pence = invoice[order], quantity[order], pence[order]
        numbers = pa.array((day - ORIGIN).days * 1_000_000 + number[invoice]).cast(pa.string())
        prefix = pa.array(np.where(is_return[invoice], "C", ""))
        midnight = np.datetime64(day, "us")
        return pa.table(
            {
                "invoice_id": pc.binary_join_element_wise(prefix, numbers, ""),
                "product_id": products.take(order),
                "customer_id": pa.array(customers.id[place[invoice]], mask=is_guest[invoice]).cast(
                    pa.string()
                ),
                "quantity": pa.array(quantity.astype(np.int32)),
                "unit_price": pa.array(pence / 100),
                "invoiced_at": pa.array(midnight + minute[invoice].astype("timedelta64[m]")),
                "country": pa.array(COUNTRIES[country[invoice]]),
            }
        )

    # --- what goes wrong -----------------------------------------------------------------------

    def _kept_rows(self, day: date, late: bool) -> pa.Table:
        """The day's rows with dirt and faults: those in time, or those that come a day late."""
        rng = np.random.default_rng([self._seed, 4, day.toordinal()])
        rows = self._rows(day)

        def some(share: float) -> np.ndarray:
            return rng.random(rows.num_rows) < share

        null_share = self._faults.share("nulls", day)
        no_quantity = some(NULL_SHARE + null_share / 2)
        no_product = some(null_share / 2)
        is_absurd = some(ABSURD_SHARE)
        is_future = some(self._faults.share("future_rows", day))
        is_twice = some(DUPLICATE_SHARE + self._faults.share("duplicates", day))
        is_late = some(self._faults.share("late_rows", day))
        is_anonymous = some(self._faults.share("anonymous", day))

        quantity = np.where(is_absurd, ABSURD_QUANTITY, rows["quantity"].to_numpy())
        invoiced_at = rows["invoiced_at"].to_numpy() + is_future * np.timedelta64(30, "D")
        rows = (
            rows.set_column(3, "quantity", pa.array(quantity, mask=no_quantity))
            .set_column(1, "product_id", pc.if_else(no_product, None, rows["product_id"]))
            .set_column(2, "customer_id", pc.if_else(is_anonymous, None, rows["customer_id"]))
            .set_column(5, "invoiced_at", pa.array(invoiced_at))
        )
        chosen = np.flatnonzero(is_late == late)
        return rows.take(np.repeat(chosen, 1 + is_twice[chosen]))

    def _break_columns(self, rows: pa.Table, day: date) -> pa.Table:
        names = self._source.columns
        if self._faults.share("missing_column", day):
            rows = rows.drop_columns(names.unit_price)
        wrong_share = self._faults.share("wrong_types", day)
        if wrong_share:
            rng = np.random.default_rng([self._seed, 5, day.toordinal()])
            is_wrong = rng.random(rows.num_rows) < wrong_share
            text = pc.if_else(is_wrong, "two dozen", rows[names.quantity].cast(pa.string()))
            rows = rows.set_column(rows.column_names.index(names.quantity), names.quantity, text)
        return rows


def days_between(first: date, until: date) -> Iterator[date]:
    """Every day from ``first`` to ``until`` inclusive."""
    for offset in range((until - first).days + 1):
        yield first + timedelta(days=offset)


def _uniform(seed: int, *keys: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) that depend on the keys alone (SplitMix64's finish over their mix)."""
    mixed: Any = np.uint64(seed)
    for key in keys:
        mixed = (mixed ^ key.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)) * 2.0**-53
