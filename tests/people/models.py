"""Users of several kinds, and what a user may be related to."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Company(models.Model):
    """What a person works for."""

    name = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.name


class Present(models.Manager["Person"]):
    """Shows those who are not hidden, as managers of tenants and soft deletion do."""

    def get_queryset(self) -> Any:
        """Return those who are not hidden."""
        return super().get_queryset().filter(hidden=False)


class Person(AbstractBaseUser):
    """A user model of a project's own."""

    email = models.CharField(max_length=40)
    hidden = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    company = models.ForeignKey(Company, null=True, on_delete=models.SET_NULL)
    manager = models.ForeignKey("self", null=True, on_delete=models.SET_NULL)
    kind = models.ForeignKey(ContentType, null=True, on_delete=models.SET_NULL)
    number = models.PositiveIntegerField(null=True)
    thing = GenericForeignKey("kind", "number")
    USERNAME_FIELD = "email"
    objects = Present()
    everybody: models.Manager[Person] = models.Manager()

    @cached_property
    def initial(self) -> str:
        """The first letter, which is remembered."""
        return self.email[0]


class Profile(models.Model):
    """What else is known of a person."""

    person = models.OneToOneField(Person, related_name="profile", on_delete=models.CASCADE)
    nick = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.nick


class Employee(Person):
    """A person with a table for the rest of it."""

    room = models.CharField(max_length=40)


class Boss(Person):
    """A proxy."""

    class Meta:
        """Has the table of persons."""

        proxy = True


class Device(models.Model):
    """A user without a name and without a password."""

    serial = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.serial
